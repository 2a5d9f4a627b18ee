"""Training ViT-1D on any folder of music, with NT-Xent on its class token (extra `torch`).

`cache.py` decodes the music once into log-mel frames, `mix.py` and `data.py` draw pairs of segments
from it, `augment.py` and `batches.py` make the frames of a step of them, `contrast.py` and
`loss.py` compare them, `trainer.py` does a step, `stepper.py` a run of them, `loop.py` puts all of
it together, and `command.py` is the command. Only the first three and the last work without torch.
"""
