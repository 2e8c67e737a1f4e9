"""Arrays in, numbers out: how good are these predictions?"""
