"""The commit that a report names."""

import subprocess

from scantling.commit import commit


def test_commit_and_changes(tmp_path):
    assert commit(tmp_path) is None  # no repository
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    code = tmp_path / "scantling" / "a.py"
    code.parent.mkdir()
    code.write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    at = commit(tmp_path)
    assert at is not None and len(at) >= 7 and "changes" not in at
    (tmp_path / "results.txt").write_text("not code")
    assert commit(tmp_path) == at
    code.write_text("2")
    assert commit(tmp_path) == f"{at} and changes"


def test_the_table_of_the_current_study_is_no_change_of_code(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    table = tmp_path / "params" / "experiments.yaml"
    table.parent.mkdir()
    table.write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    table.write_text("2")
    at = commit(tmp_path)
    assert at is not None and "changes" not in at
    (table.parent / "report.yaml").write_text("1")
    subprocess.run([*git, "add", "."], check=True)
    assert commit(tmp_path) == f"{at} and changes"
