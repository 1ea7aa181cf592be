"""Classic mistakes, put back one at a time: does the simulator notice?"""
