"""Looking inside: what a run of a model computes, seen at the real model, and changed where that is asked for.

    taps      what each part of a model takes and gives, forward and backward
    lens      what follows from that: attention, what each layer would say, what each part contributed
    oracle    all of it in one file, for whoever writes the same model in another language
"""
