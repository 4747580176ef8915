"""How data/ was made: scikit-learn's digits (UCI, CC BY 4.0), 1,297 images to learn from and 500 to score."""

from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent


def images():
    """The images to learn from and the new ones: 64 pixels of 0 to 16, the `digit`, and an `image` number."""
    pixels, digit = load_digits(return_X_y=True, as_frame=True)
    table = pixels.assign(digit=digit, image=range(len(digit)))
    return train_test_split(table, test_size=500, random_state=0, stratify=digit)


if __name__ == "__main__":
    (HERE / "data").mkdir(exist_ok=True)
    for name, part in zip(("train", "new"), images(), strict=True):
        part.to_parquet(HERE / "data" / f"{name}.parquet", index=False, compression="zstd")
