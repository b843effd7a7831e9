"""Score a teacher, a student or a cache by one and the same evaluation; the same as `rtpe validate`.

python validate_teacher.py --config hpe0001 --data.root datasets/coco --data.split val2017
python validate_teacher.py --cache.path caches/hpe0001-val --data.root datasets/coco --data.split val2017
python validate_teacher.py --weights runs/s/best.safetensors --data.root datasets/coco --data.split val2017
python validate_teacher.py --compare hpe0001 runs/s/best.safetensors caches/hpe0001-val
"""

import sys

from rtpe.cli import run

if __name__ == "__main__":
    sys.exit(run("validate", None, "validate_teacher.py"))
