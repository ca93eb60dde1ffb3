"""The methods' names, for options and tables."""

__all__ = ["FORCED", "METHODS"]

METHODS = {
    "sparf": "SparF; the mean of V stands for tokens left out (alpha)",
    "sparf-plain": "SparF without the mean of V (alpha = 1)",
    "sparq": "as sparf, but single elements are moved, as in memory",
    "sparq-plain": "the same without the mean of V",
    "bounds": "units of tokens, by least and largest value of each K channel",
    "local": "the first and the last tokens",
}
"""Name -> what it is. All but sparf and sparq differ in what they attend."""

FORCED = {
    "within": "forced tokens are part of what a ratio pays for",
    "besides": "forced tokens come besides what a ratio pays for, and are moved too",
}
"""How tokens count that are always attended -> what that is. See `host.accuracy.ratio`."""
