"""NAND flash: geometry, timing profiles, ONFI behaviour of a die, and the array behind it."""
