"""``python -m benchmarks [--data FOLDER]``: run every benchmark; `make bench` calls this."""

import sys

from benchmarks import agent, finetune, language, news, readme, recommend, retrieval, toolkit, understanding

if __name__ == "__main__":
    finetune.main(sys.argv[1:])
    understanding.main([])
    toolkit.main([])
    language.main([])
    agent.main([])
    retrieval.main([])
    news.main([])
    recommend.main([])
    readme.write()
