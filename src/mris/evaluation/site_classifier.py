"""How well vectors tell the site: a regression that has not seen the person names it."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import StratifiedGroupKFold

N_FOLDS = 5
PENALTY = 0.1
"""Of the regression, beside a kernel that is 1 for an image and itself."""


def named_rightly(
    vectors: Float[np.ndarray, "n q"], sites: Shaped[np.ndarray, " n"], subjects: Shaped[np.ndarray, " n"], seed: int
) -> Bool[np.ndarray, " n"]:
    """Say of each image whether its site is named rightly by a regression fitted to other people.

    Kernel ridge regression to one column a site, with a Gaussian kernel as wide as vectors are far apart on average;
    the greatest column names. Nothing is chosen by the result.

    Args:
        vectors: One an image, such as its embedding.
        sites: Name of each image's site; each site has at least `N_FOLDS` people.
        subjects: Person of each image; all images of a person are in one fold.
        seed: Of the folds.
    """
    rightly = np.zeros(len(vectors), dtype=np.bool_)
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    for seen, asked in folds.split(vectors, sites, subjects):
        center, spread = vectors[seen].mean(axis=0), vectors[seen].std(axis=0)
        varies = spread > 1e-6 * max(float(spread.max()), 1e-12)
        standard = (vectors[:, varies] - center[varies]) / spread[varies]
        names, codes = np.unique(sites[seen], return_inverse=True)
        columns = np.eye(len(names))[codes]
        width = 2 * max(int(varies.sum()), 1)  # mean squared distance of standard vectors
        ridge = KernelRidge(alpha=PENALTY, kernel="rbf", gamma=1 / width)
        if varies.any():
            predicted = ridge.fit(standard[seen], columns - columns.mean(axis=0)).predict(standard[asked])
        else:
            predicted = np.zeros((len(asked), len(names)))
        rightly[asked] = names[(predicted + columns.mean(axis=0)).argmax(axis=1)] == sites[asked]
    return rightly
