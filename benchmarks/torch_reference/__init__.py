"""The networks and the loop of the official deep image prior in PyTorch, for parity tests and timings.

Written from a description of the official repository (github.com/DmitryUlyanov/deep-image-prior, commit 042e0d4); no
code is copied. Everything is NCHW with N = 1, as there, and batch norm is always in train mode: never call `.eval()`.

    skip, unet, resnet
                   official generators, repaired where the official code crashes; state-dict names are the official ones
    texture_nets, dcgan
                   the other official generators; state-dict names are ours
    downsampler    the super-resolution operator
    convdecoder    deepinv's generator and its published setting
    deepdecoder    the Deep Decoder
    train          the input, one training step, the denoising loop

To add a network: one file with one function that returns an `nn.Module`, and a row in `tests/test_torch_reference.py`.
"""
