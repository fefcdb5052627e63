//! Medians with their spread, and quantiles. Pure.

use serde::{Deserialize, Serialize};

/// The median of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of no values. The median of an even number of values is the mean of the middle two.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, min, max })
    }
}

/// The smallest value that is not below a share `of` all values, which are sorted. `None` of no values.
pub fn quantile(sorted: &[u64], of: f64) -> Option<u64> {
    let rank = (of * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle_of_its_spread() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[5.0]), Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=1000).collect();
        let at = |of| quantile(&values, of);
        assert_eq!([at(0.0), at(0.5), at(0.99), at(0.999), at(1.0)], [1, 500, 990, 999, 1000].map(Some));
        assert_eq!((quantile(&[7], 0.99), quantile(&[], 0.5)), (Some(7), None));
    }
}
