"""The page and the tables of a study, from the files of its runs."""
