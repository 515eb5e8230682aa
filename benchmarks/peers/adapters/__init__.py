"""How each library is used: one module a library, run in that library's own environment.

They are used as their own documentation shows; what they cannot do by themselves (search, for
most) is done with NumPy. ``base`` says what an adapter offers.
"""
