"""Appending: tokens to tails, full groups to program slots."""
