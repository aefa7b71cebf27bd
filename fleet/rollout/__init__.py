"""Rollout: sealed bundles travel through a signed repository to devices that survive a power cut.

The operator's side works on a *depot*: keys, enrolled devices, the public repository, releases,
rollouts and reports. The device's side works on its *home*: identity, trusted root, two slots.
Nothing here imports torch.
"""
