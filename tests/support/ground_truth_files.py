"""Labels of evaluation clips in the files of an official evaluator."""


def evaluation_clips(scores):
    """The rows of a table of scores whose clips are published without labels."""
    return scores[(scores["stage"] == "eval") & (scores["split"] == "test")]


def write_ground_truth(folder, clips):
    """Label clips by the four digits in their names.

    Odd numbers are anomalous; of four numbers in a row the last two are of the target domain.
    """
    rules = {"data": lambda number: number % 2, "domain": lambda number: number // 2 % 2}
    for kind, rule in rules.items():
        for machine, rows in clips.groupby("machine"):
            path = folder / f"ground_truth_{kind}/ground_truth_{machine}_section_00_test.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (f"{file},{rule(int(file[-8:-4]))}\n" for file in rows["file"])
            path.write_text("".join(lines))
    return folder
