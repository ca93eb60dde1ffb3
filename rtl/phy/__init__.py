"""PHYs of a channel: from the symbols of `rtl.nand.phy` to the pins of ONFI dies."""
