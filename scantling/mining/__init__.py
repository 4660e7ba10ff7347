"""What methods find, correct and weigh: pure functions and small networks, shared by the files of scantling/methods."""
