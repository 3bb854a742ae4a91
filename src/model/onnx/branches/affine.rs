//! Rows as sums of what blocks of neurons give: a matrix for each block, and a shift for each number.

use std::borrow::Cow;

use ndarray::{Array2, Axis};

use crate::limits::Limits;

/// Elements that one matrix may have, 128 MB, times what the limits are raised by.
const LARGEST: usize = 1 << 24;

/// The place of a block.
pub(super) type BlockId = usize;

/// Rows that are affine in the rows of blocks.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    /// Each block at most once.
    pub(super) terms: Vec<Term>,
    /// One for each number.
    pub(super) shift: Vec<f64>,
}

/// What a block adds.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) block: BlockId,
    /// How many numbers the block gives.
    pub(super) rows: usize,
    pub(super) matrix: Matrix,
}

/// The block's numbers × the numbers that they add to.
#[derive(Clone, Debug)]
pub(super) enum Matrix {
    /// For each column one row, and what it is multiplied with.
    Picks(Vec<(usize, f64)>),
    Dense(Array2<f64>),
}

impl Affine {
    /// Some of a block's numbers.
    pub(super) fn of_block(block: BlockId, rows: usize, places: impl IntoIterator<Item = usize>) -> Affine {
        let picks: Vec<(usize, f64)> = places.into_iter().map(|place| (place, 1.0)).collect();
        let shift = vec![0.0; picks.len()];
        Affine { terms: vec![Term { block, rows, matrix: Matrix::Picks(picks) }], shift }
    }

    /// Numbers to which [`add`](Affine::add) adds.
    pub(super) fn zeros(width: usize) -> Affine {
        Affine { terms: Vec::new(), shift: vec![0.0; width] }
    }

    pub(super) fn width(&self) -> usize {
        self.shift.len()
    }

    /// Whether each number is one number of one block, times a factor: nothing is gained by working it out apart.
    pub(super) fn is_picked(&self) -> bool {
        let mut sources = vec![0_usize; self.width()];
        for term in &self.terms {
            let Matrix::Picks(picks) = &term.matrix else { return false };
            let used = sources.iter_mut().zip(picks).filter(|(_, (_, factor))| *factor != 0.0);
            used.for_each(|(count, _)| *count += 1);
        }
        sources.iter().all(|&count| count <= 1)
    }

    /// The same without blocks that cancel out: nothing of them has to be computed or held.
    pub(super) fn without_zeros(mut self) -> Affine {
        self.terms.retain(|term| term.used_rows().contains(&true));
        self
    }

    /// How many numbers of blocks go in.
    pub(super) fn inputs(&self) -> usize {
        self.terms.iter().map(|term| term.used_rows().iter().filter(|used| **used).count()).sum()
    }

    pub(super) fn scaled(mut self, factor: &[f64], shift: &[f64]) -> Affine {
        for term in &mut self.terms {
            match &mut term.matrix {
                Matrix::Picks(picks) => picks.iter_mut().zip(factor).for_each(|((_, by), factor)| *by *= factor),
                Matrix::Dense(matrix) => {
                    matrix.axis_iter_mut(Axis(1)).zip(factor).for_each(|(mut column, factor)| column *= *factor);
                }
            }
        }
        let changes = factor.iter().zip(shift);
        self.shift.iter_mut().zip(changes).for_each(|(value, (factor, shift))| *value = *value * factor + shift);
        self
    }

    pub(super) fn picked(&self, places: &[usize]) -> Affine {
        let of = |term: &Term| {
            let matrix = match &term.matrix {
                Matrix::Picks(picks) => Matrix::Picks(places.iter().map(|&place| picks[place]).collect()),
                Matrix::Dense(matrix) => Matrix::Dense(matrix.select(Axis(1), places)),
            };
            Term { matrix, ..*term }
        };
        let shift = places.iter().map(|&place| self.shift[place]).collect();
        Affine { terms: self.terms.iter().map(of).collect(), shift }
    }

    /// These rows times weights, plus a bias.
    pub(super) fn times(&self, weights: &Array2<f64>, bias: &[f64], limits: Limits) -> Result<Affine, String> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            bounded(term.rows, weights.ncols(), limits)?;
            let matrix = match &term.matrix {
                Matrix::Dense(matrix) => matrix.dot(weights),
                Matrix::Picks(picks) => {
                    let mut product = Array2::zeros((term.rows, weights.ncols()));
                    for (&(row, factor), weights) in picks.iter().zip(weights.rows()) {
                        product.row_mut(row).scaled_add(factor, &weights);
                    }
                    product
                }
            };
            terms.push(Term { matrix: Matrix::Dense(matrix), ..*term });
        }
        let mut shift = bias.to_vec();
        for (value, weights) in self.shift.iter().zip(weights.rows()) {
            shift.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
        }
        Ok(Affine { terms, shift })
    }

    /// Adds other rows times a factor to the numbers from `start` on.
    pub(super) fn add(&mut self, start: usize, other: &Affine, factor: f64, limits: Limits) -> Result<(), String> {
        let places = self.shift[start..].iter_mut().zip(&other.shift);
        places.for_each(|(sum, value)| *sum += factor * value);
        let width = self.width();
        for term in &other.terms {
            let at = self.terms.iter().position(|known| known.block == term.block).unwrap_or_else(|| {
                self.terms.push(Term { matrix: Matrix::Picks(vec![(0, 0.0); width]), ..*term });
                self.terms.len() - 1
            });
            self.terms[at].add(start, term, factor, width, limits)?;
        }
        Ok(())
    }
}

impl Term {
    /// Which of the block's numbers go in.
    pub(super) fn used_rows(&self) -> Vec<bool> {
        match &self.matrix {
            Matrix::Dense(matrix) => matrix.rows().into_iter().map(|row| row.iter().any(|it| *it != 0.0)).collect(),
            Matrix::Picks(picks) => {
                let mut used = vec![false; self.rows];
                picks.iter().filter(|(_, factor)| *factor != 0.0).for_each(|&(row, _)| used[row] = true);
                used
            }
        }
    }

    fn add(&mut self, start: usize, other: &Term, factor: f64, width: usize, limits: Limits) -> Result<(), String> {
        if let (Matrix::Picks(here), Matrix::Picks(there)) = (&mut self.matrix, &other.matrix) {
            let places = &mut here[start..start + there.len()];
            let are_free = places.iter().zip(there).all(|(here, there)| here.1 == 0.0 || there.1 == 0.0);
            if are_free {
                for (here, &(row, by)) in places.iter_mut().zip(there).filter(|(_, there)| there.1 != 0.0) {
                    *here = (row, factor * by);
                }
                return Ok(());
            }
        }
        bounded(self.rows, width, limits)?;
        let mut sum = dense(&self.matrix, self.rows).into_owned();
        match &other.matrix {
            Matrix::Picks(picks) => {
                for (place, &(row, by)) in picks.iter().enumerate() {
                    sum[[row, start + place]] += factor * by;
                }
            }
            Matrix::Dense(matrix) => {
                for (place, column) in matrix.columns().into_iter().enumerate() {
                    sum.column_mut(start + place).scaled_add(factor, &column);
                }
            }
        }
        self.matrix = Matrix::Dense(sum);
        Ok(())
    }
}

/// A matrix of so many rows with all its elements.
pub(super) fn dense(matrix: &Matrix, rows: usize) -> Cow<'_, Array2<f64>> {
    match matrix {
        Matrix::Dense(matrix) => Cow::Borrowed(matrix),
        Matrix::Picks(picks) => {
            let mut dense = Array2::zeros((rows, picks.len()));
            picks.iter().enumerate().for_each(|(column, &(row, factor))| dense[[row, column]] += factor);
            Cow::Owned(dense)
        }
    }
}

/// Refuses matrices that take too much memory.
pub(super) fn bounded(rows: usize, columns: usize, limits: Limits) -> Result<(), String> {
    let most = limits.raise(LARGEST);
    match rows.checked_mul(columns) {
        Some(elements) if elements <= most => Ok(()),
        _ => Err(format!(
            "its branches side by side need a layer of {rows} × {columns} weights, {most} are the limit: make them \
             narrower, or raise the limit (--limit-factor)"
        )),
    }
}
