"""Pages of `--report`: of one picture, and of many with an index. Each is one file that asks nothing of any network."""
