"""Figures of a paper are grouped without losing a row, and each repeated text is said once a group."""

from hypothesis import given
from hypothesis import strategies as st

from tradespace.search.cli.reproduction import SHARED, grouped

TEXTS = st.sampled_from(["a", "b", ""])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"quantity": st.text(max_size=3), "ours": st.integers(), **dict.fromkeys(SHARED, TEXTS)}
    ),
    max_size=12,
)


@given(ROWS)
def test_groups_hold_every_row_in_order(rows):
    shown = [(row["quantity"], row["ours"]) for _, group in grouped(rows) for row in group]
    assert shown == [(row["quantity"], row["ours"]) for row in rows]


@given(ROWS)
def test_what_is_said_above_a_group_is_left_out_of_its_rows(rows):
    for above, group in grouped(rows):
        for row in group:
            kept = {name: row[name] for name in SHARED if name in row}
            assert len(above) <= len(SHARED) - len(kept)


def test_a_workload_of_all_rows_is_said_once():
    rows = [{"quantity": str(i), "ours": i, "workload": "one trace", "assumptions": str(i)} for i in range(6)]
    [(above, group)] = grouped(rows)
    assert above == ["one trace"]
    assert all("workload" not in row and "assumptions" in row for row in group)
