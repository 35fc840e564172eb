"""A user's own solver runs, is recorded and resumed by the name FILE.py:CLASS."""

import pytest

import tradespace as ts
from tradespace.errors import SolverUnavailable, TradespaceError
from tradespace.solvers.portfolio import make

DRAWS = """
from tradespace.solvers.base import AskTell

class Draws(AskTell):
    name = "draws"
    def ask(self, n):
        return self.space.sample(self.rng, 2)
"""


@pytest.fixture
def solver(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(DRAWS)
    return f"{path}:Draws"


def test_a_solver_of_a_file_runs_and_resumes_under_its_name(solver, tmp_path):
    problem = ts.problem("matmul-tile")
    first = ts.solve(problem, solver, budget=ts.Budget(evaluations=4), runs=tmp_path)
    again = ts.resume(first.run_dir, budget=ts.Budget(evaluations=8))
    assert (first.solver, again.solver) == (solver, solver)
    assert first.evaluations < again.evaluations <= 8


def test_a_solver_that_is_not_there_is_one_sentence(solver, tmp_path):
    for name, says in [
        (solver.replace("Draws", "Darws"), "did you mean 'Draws'"),
        (f"{tmp_path}/none.py:Draws", "there is no file"),
        ("nosuchpackage.solvers:Draws", "cannot be imported"),
        ("json:JSONDecoder", "has no solver class"),
    ]:
        with pytest.raises(TradespaceError, match=says):
            make(name)
    with pytest.raises(SolverUnavailable):
        make("randm")
