//! Blocks, put into layers one after the other: a layer computes what can be computed from the layer before it, and
//! passes on what is needed later.

use std::rc::Rc;

use ndarray::{Array2, s};

use super::affine::{Affine, BlockId, Matrix, Term, bounded, dense};
use super::{Block, Function};
use crate::engine::Activation;
use crate::limits::Limits;
use crate::model::onnx::chain::{Link, Op};
use crate::model::onnx::value::Cell;

/// How many times the weights of the graph a chain may have, and the number that it may have in any case.
const MOST_TIMES: usize = 16;
const ALWAYS: usize = 1 << 22;

/// Numbers of a block among the results of a layer.
#[derive(Debug)]
struct Held {
    block: BlockId,
    /// Which of the block's, in this order.
    columns: Vec<usize>,
    /// Where the first one is.
    start: usize,
}

/// The chain under construction.
struct Steps<'a> {
    blocks: &'a [Block],
    answer: &'a Affine,
    /// The blocks that aren't computed yet.
    pending: Vec<BlockId>,
    /// What the last layer gives.
    held: Vec<Held>,
    width: usize,
    links: Vec<Link>,
    weights: usize,
    most_weights: usize,
    limits: Limits,
}

/// The links from the columns to the answer; `weights` is how many weights the graph has.
pub(super) fn chain_of(
    cells: Vec<Cell>,
    blocks: &[Block],
    answer: &Affine,
    weights: usize,
    limits: Limits,
) -> Result<Vec<Link>, String> {
    let width = cells.len();
    let held = vec![Held { block: 0, columns: (0..width).collect(), start: 0 }];
    let source = Link { before: None, op: Op::Source(Rc::new(cells)), width };
    let most_weights = limits.raise(ALWAYS.max(weights.saturating_mul(MOST_TIMES)));
    let pending = needed(blocks, answer);
    let links = vec![source];
    let mut steps = Steps { blocks, answer, pending, held, width, links, weights: 0, most_weights, limits };
    while !steps.pending.is_empty() {
        let group = steps.next_group()?;
        steps.layer(&group)?;
    }
    if !steps.gives_the_answer() {
        let (weights, bias) = steps.matrix(&[answer], &[])?;
        steps.linear(weights, bias)?;
    }
    Ok(steps.links)
}

/// The blocks that the answer depends on, without the columns.
fn needed(blocks: &[Block], answer: &Affine) -> Vec<BlockId> {
    let (mut is_needed, mut pending) = (vec![false; blocks.len()], vec![answer]);
    while let Some(value) = pending.pop() {
        for term in &value.terms {
            if !std::mem::replace(&mut is_needed[term.block], true) {
                pending.push(&blocks[term.block].sums);
            }
        }
    }
    (1..blocks.len()).filter(|&block| is_needed[block]).collect()
}

impl Steps<'_> {
    /// The blocks that the next layer computes.
    fn next_group(&self) -> Result<Vec<BlockId>, String> {
        let is_ready = |&&block: &&BlockId| {
            let terms = &self.blocks[block].sums.terms;
            terms.iter().all(|term| !self.pending.contains(&term.block))
        };
        let ready: Vec<BlockId> = self.pending.iter().filter(is_ready).copied().collect();
        let mut groups = vec![ready.clone()];
        for &block in &ready {
            let function = &self.blocks[block].function;
            let is_like = |&other: &BlockId| self.operations([block, other], false).is_ok();
            groups.push(ready.iter().copied().filter(|other| *other == block || is_like(other)).collect());
            // What is passed on can wait.
            if !matches!(function, Function::Passed) {
                groups.push(vec![block]);
            }
        }
        let mut refused = None;
        for group in groups {
            match self.operations(group.iter().copied(), !self.passed(&group).is_empty()) {
                Ok(_) if !group.is_empty() => return Ok(group),
                Ok(_) => {}
                Err(reason) => refused = refused.or(Some(reason)),
            }
        }
        Err(refused.unwrap_or_else(|| "its branches wait for each other".into()))
    }

    /// What is held and needed after a layer that computes these blocks: the columns of each.
    fn passed(&self, group: &[BlockId]) -> Vec<(BlockId, Vec<usize>)> {
        let later = self.pending.iter().filter(|block| !group.contains(block)).map(|&block| &self.blocks[block].sums);
        let later: Vec<&Affine> = later.chain([self.answer]).collect();
        let mut passed = Vec::new();
        for held in &self.held {
            let mut used = vec![false; self.blocks[held.block].width];
            let terms = later.iter().flat_map(|value| &value.terms).filter(|term| term.block == held.block);
            terms.for_each(|term| used.iter_mut().zip(term.used_rows()).for_each(|(used, more)| *used |= more));
            let columns: Vec<usize> = held.columns.iter().copied().filter(|&column| used[column]).collect();
            if !columns.is_empty() {
                passed.push((held.block, columns));
            }
        }
        passed
    }

    /// What one layer does to the sums of these blocks, and to numbers that it passes on.
    fn operations(&self, group: impl IntoIterator<Item = BlockId>, passes: bool) -> Result<Vec<Op>, String> {
        let group: Vec<BlockId> = group.into_iter().collect();
        let mut operations = Vec::new();
        for &block in &group {
            match &self.blocks[block].function {
                Function::Columns | Function::Passed => operations.push(&[][..]),
                Function::Operations(more) => operations.push(&more[..]),
            }
        }
        if passes {
            operations.push(&[]);
        }
        let Some((first, rest)) = operations.split_first() else { return Ok(Vec::new()) };
        let is_alone = rest.is_empty();
        match first {
            [Op::Activation(activation)] if rest.iter().all(|other| is_activation(other, *activation)) => {
                Ok(first.to_vec())
            }
            [Op::Norm { .. }, ..] if is_alone => Ok(first.to_vec()),
            _ if operations.iter().all(|operations| operations.is_empty()) => Ok(Vec::new()),
            _ => {
                let mut slopes = Vec::new();
                for (at, of_block) in operations.iter().enumerate() {
                    let width = group.get(at).map_or(0, |&block| self.blocks[block].width);
                    match slopes_of(of_block, width) {
                        Some(more) => slopes.extend(more),
                        None => return beside(&operations, passes),
                    }
                }
                Ok(vec![Op::PRelu { slopes }])
            }
        }
    }

    /// Adds a layer that computes these blocks.
    fn layer(&mut self, group: &[BlockId]) -> Result<(), String> {
        let passed = self.passed(group);
        let mut operations = self.operations(group.iter().copied(), !passed.is_empty())?;
        let sums: Vec<&Affine> = group.iter().map(|&block| &self.blocks[block].sums).collect();
        let (weights, bias) = self.matrix(&sums, &passed)?;
        let width = bias.len();
        self.linear(weights, bias)?;
        for operation in &mut operations {
            match operation {
                Op::PRelu { slopes } => slopes.resize(width, 1.0),
                Op::Beside { passed: count, .. } => *count = passed.iter().map(|(_, columns)| columns.len()).sum(),
                _ => {}
            }
        }
        self.links.extend(operations.into_iter().map(|op| Link { before: None, op, width }));
        self.pending.retain(|block| !group.contains(block));
        let (mut held, mut start) = (Vec::new(), 0);
        let computed = group.iter().map(|&block| (block, (0..self.blocks[block].width).collect()));
        for (block, columns) in computed.chain(passed) {
            let columns: Vec<usize> = columns;
            let count = columns.len();
            held.push(Held { block, columns, start });
            start += count;
        }
        (self.held, self.width) = (held, width);
        Ok(())
    }

    /// Weights and bias that give these rows side by side, and after them what is passed on.
    fn matrix(&self, sums: &[&Affine], passed: &[(BlockId, Vec<usize>)]) -> Result<(Array2<f64>, Vec<f64>), String> {
        let mut bias: Vec<f64> = sums.iter().flat_map(|sums| &sums.shift).copied().collect();
        let computed = bias.len();
        bias.resize(computed + passed.iter().map(|(_, columns)| columns.len()).sum::<usize>(), 0.0);
        bounded(self.width, bias.len(), self.limits)?;
        let mut weights = Array2::zeros((self.width, bias.len()));
        let mut start = 0;
        for sums in sums {
            for term in &sums.terms {
                let held = self.held(term.block)?;
                let matrix = dense(&term.matrix, term.rows);
                for (row, &column) in held.columns.iter().enumerate() {
                    let mut place = weights.slice_mut(s![held.start + row, start..start + sums.width()]);
                    place += &matrix.row(column);
                }
            }
            start += sums.width();
        }
        for (block, columns) in passed {
            let held = self.held(*block)?;
            for column in columns {
                let row = held.columns.iter().position(|other| other == column).ok_or("a branch isn't passed on")?;
                weights[[held.start + row, start]] = 1.0;
                start += 1;
            }
        }
        Ok((weights, bias))
    }

    fn held(&self, block: BlockId) -> Result<&Held, String> {
        self.held.iter().find(|held| held.block == block).ok_or_else(|| "a branch isn't passed on".into())
    }

    fn linear(&mut self, weights: Array2<f64>, bias: Vec<f64>) -> Result<(), String> {
        self.weights = self.weights.saturating_add(weights.len());
        if self.weights > self.most_weights {
            return Err(format!(
                "its branches side by side need layers of more than {} weights, {MOST_TIMES} times those of the \
                 graph or more: make the branches fewer or narrower, or raise the limit (--limit-factor)",
                self.most_weights
            ));
        }
        let width = bias.len();
        self.links.push(Link { before: None, op: Op::Linear { weights: Rc::new(weights), bias }, width });
        Ok(())
    }

    /// Whether the last layer's results are the answer as they are.
    fn gives_the_answer(&self) -> bool {
        let results = self.held.iter().flat_map(|held| held.columns.iter().map(|&column| (held.block, column)));
        let is_result = |(at, (block, column)): (usize, (BlockId, usize))| {
            let is_of = |term: &Term| match &term.matrix {
                Matrix::Picks(picks) if term.block == block => picks[at] == (column, 1.0),
                Matrix::Picks(picks) => picks[at].1 == 0.0,
                Matrix::Dense(_) => false,
            };
            let terms = &self.answer.terms;
            terms.iter().any(|term| term.block == block) && terms.iter().all(is_of)
        };
        let has_no_shift = self.answer.shift.iter().all(|it| *it == 0.0);
        let is_as_wide = self.width == self.answer.width();
        self.links.len() > 1 && is_as_wide && has_no_shift && results.enumerate().all(is_result)
    }
}

fn is_activation(operations: &[Op], activation: Activation) -> bool {
    matches!(operations, [Op::Activation(other)] if *other == activation)
}

/// What one layer does to blocks that have the same operations beside numbers that pass.
fn beside(operations: &[&[Op]], passes: bool) -> Result<Vec<Op>, String> {
    let blocks = if passes { &operations[..operations.len() - 1] } else { operations };
    match blocks {
        [[Op::Activation(activation)], others @ ..] if others.iter().all(|other| is_activation(other, *activation)) => {
            Ok(vec![Op::Beside { operations: vec![Op::Activation(*activation)], passed: 0 }])
        }
        // A norm is over all numbers of one block.
        [[norm @ .., slopes @ Op::PRelu { .. }]] if !norm.is_empty() => {
            Ok(vec![Op::Beside { operations: norm.to_vec(), passed: 0 }, slopes.clone()])
        }
        [only @ [Op::Norm { .. }, ..]] => Ok(vec![Op::Beside { operations: only.to_vec(), passed: 0 }]),
        _ => Err("its branches need different functions in one layer".into()),
    }
}

/// The slopes of a PReLU that does the same to so many numbers.
fn slopes_of(operations: &[Op], width: usize) -> Option<Vec<f64>> {
    match operations {
        [] => Some(vec![1.0; width]),
        [Op::Activation(Activation::Relu)] => Some(vec![0.0; width]),
        [Op::Activation(Activation::LeakyRelu { slope })] => Some(vec![f64::from(*slope); width]),
        [Op::PRelu { slopes }] => Some(slopes.clone()),
        _ => None,
    }
}
