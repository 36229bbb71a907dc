def check(world):
    pass
