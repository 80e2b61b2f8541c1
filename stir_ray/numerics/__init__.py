"""The mathematics, on tensors and arrays alone: no files, no models, no Ray, no logging.

Needs torch, numpy and scipy only, so that it runs on any GPU machine as it is.
"""
