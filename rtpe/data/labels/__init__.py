"""Labels of people: one reading of COCO files, checked before any work, for training and evaluation alike."""

from rtpe.data.labels.category import joint_names
from rtpe.data.labels.fields import read_id, read_json
from rtpe.data.labels.labels import Labels
from rtpe.data.labels.people import Image, Person, openpose_points
from rtpe.data.labels.read import read_labels

__all__ = ["Image", "Labels", "Person", "joint_names", "openpose_points", "read_id", "read_json", "read_labels"]
