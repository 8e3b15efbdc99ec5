"""Reading files of graded completions, of this project and of other tools.

`source` opens a path (files, standard input, pipes, .gz), `contents` turns what it holds into rows (JSON lines, JSON
documents, CSV, TSV, parquet, zip), and a format turns rows into entries. A format is one file with a subclass of
`entry.Format` and one line in `registry.FORMATS`; `columns` checks the entries, `fast_reader` is the short way for
large files of JSON lines, and `ngrpo.evaluation.samples.counts.read_counts` does all of it.
"""
