"""The one switchboard from names in settings to objects."""

from rtpe.build.data import Images, cache, dataset
from rtpe.build.decoders import chosen, decoder, groupings
from rtpe.build.nets import imitated_stem, net, numbers_of, refuse_numbers, save_net, trainable_net
from rtpe.build.predictors import device, predictor
from rtpe.build.readable import few_predicted, require_readable

__all__ = [
    "Images",
    "cache",
    "chosen",
    "dataset",
    "decoder",
    "device",
    "few_predicted",
    "groupings",
    "imitated_stem",
    "net",
    "numbers_of",
    "predictor",
    "refuse_numbers",
    "require_readable",
    "save_net",
    "trainable_net",
]
