"""What must not be kept: secrets are found by the name they stand under and by what they look like. Pure functions.

Every expression here is linear in the length of its text: repeats are bounded or end where something else begins, and
none stands in another. A text is what a program happened to hold, and an attacker may have written it.
"""
