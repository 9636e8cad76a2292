"""Training few parameters of a model that is there: layers that take the places of a model's own, and freezing.

    replacing.py    puts a layer in another's place, and back; merges
    lora.py         a matrix, and beside it the product of two narrow ones
    adalora.py      the same with a diagonal between the two, of which what matters least is cut away
    adapter.py      a small MLP after a sub-layer, or after a block
    prefix.py       keys and values that are learned, before those of the text
    freezing.py     the top blocks alone, the head, the biases; more and more of the model
"""
