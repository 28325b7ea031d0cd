"""``python -m benchmarks [--data FOLDER]``: run every benchmark; `make bench` calls this."""

import sys

from benchmarks import finetune, readme, understanding

if __name__ == "__main__":
    finetune.main(sys.argv[1:])
    understanding.main([])
    readme.write()
