"""Music with ground truth, rendered from symbols: `python -m weights.recipe.corpus OUT`.

A song (`song.py`) is symbols with labels; a rendition (`rendition.py`) one way to play it; a render
(`render.py`, `labels.py`) its sound and labels on one time axis. `build.py` makes them all.
"""
