"""`python -m vit1dx.train`, which torchrun needs: `torchrun --nproc-per-node 2 -m vit1dx.train`."""

from .command import main

if __name__ == "__main__":
    main()
