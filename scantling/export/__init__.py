"""Writes data sets, splits and pseudo labels in the forms that other tools read."""
