"""The NAND channel controller and its boundary to the PHY."""
