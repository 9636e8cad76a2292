"""A model behind HTTP:  python -m gpt2np.serve --model demo --port 8000

    server     sockets, and HTTP: limits, time, what goes wrong on the way
    answers    what is answered: which path does what, and the shapes of the answers, OpenAI's among them
    asked      what is asked: JSON to checked values, and the sentence for what cannot be taken
    engine     the one thread that runs the model, for all texts together (decoding/together.py)
    metrics    what is counted, as Prometheus reads it
    page.html  a page to type in

    client -- thread of its connection -- queue -- engine -- a token of each text -- the threads of their connections

A teacher's server: one process, one model, on the processor; docs/serving.md says what to take for more.
"""
