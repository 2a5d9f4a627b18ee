"""Training ViT-1D on any folder of music, with NT-Xent on its class token (extra `torch`).

`cache.py` decodes the music once, `data.py` draws pairs of segments from it, `augment.py` and
`frontend.py` make log-mel frames of them, `loss.py` compares them, `loop.py` trains, and
`command.py` is the command. Only the first two and the last work without torch.
"""
