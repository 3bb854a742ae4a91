//! Branches that are joined, as one chain of wider layers.
//!
//! The engine runs layers one after the other. So branches lie side by side in one layer, whose weights are zeros
//! between them, and numbers that are needed later pass through it as they are, beside the activation or norm of the
//! others. `relu` for some neurons and leaky_relu for others is a PReLU with a slope for each neuron. A sum is a layer
//! whose weights are those of both branches below each other.
//!
//! First the links become blocks of neurons, and everything between blocks is affine (`affine`). Then `steps` puts
//! blocks into layers.

mod affine;
mod steps;

use affine::{Affine, Matrix, Term};
use std::collections::{BTreeSet, HashMap};

use super::chain::{Chain, Link, Op};
use super::value::{Cell, LinkId};
use crate::limits::Limits;

/// Neurons that are computed together.
#[derive(Debug)]
struct Block {
    /// What goes into the function.
    sums: Affine,
    function: Function,
    width: usize,
    /// How many blocks are before it one after the other.
    depth: usize,
}

/// What neurons make of their sums.
#[derive(Debug)]
enum Function {
    /// The columns that go into the network: there are no sums.
    Columns,
    /// The sums themselves.
    Passed,
    /// One operation, which is an activation; or a norm and what is done to its results.
    Operations(Vec<Op>),
}

/// The links from the columns to this one, in which nothing is joined any more.
pub(super) fn chained(chain: &Chain, of: LinkId, limits: Limits) -> Result<Vec<Link>, String> {
    let mut network = Network::new(chain, of, limits);
    for &id in &network.wanted.clone() {
        network.add(id)?;
    }
    let answer = network.value(of)?.clone().without_zeros();
    steps::chain_of(network.cells, &network.blocks, &answer, network.weights, limits)
}

struct Network<'a> {
    chain: &'a Chain,
    /// The links that the answer depends on.
    wanted: BTreeSet<LinkId>,
    /// How many of them take each link.
    uses: HashMap<LinkId, usize>,
    cells: Vec<Cell>,
    blocks: Vec<Block>,
    values: HashMap<LinkId, Affine>,
    /// How many weights the links have.
    weights: usize,
    limits: Limits,
}

impl<'a> Network<'a> {
    /// A network with its columns.
    fn new(chain: &'a Chain, of: LinkId, limits: Limits) -> Network<'a> {
        let (mut wanted, mut uses, mut pending) = (BTreeSet::new(), HashMap::new(), vec![of]);
        while let Some(id) = pending.pop() {
            if !wanted.insert(id) {
                continue;
            }
            for before in chain.link(id).befores() {
                *uses.entry(before).or_insert(0) += 1;
                pending.push(before);
            }
        }
        let (mut cells, mut places): (Vec<Cell>, HashMap<Option<usize>, Vec<usize>>) = (Vec::new(), HashMap::new());
        let mut sources = Vec::new();
        for &id in &wanted {
            let Op::Source(columns) = &chain.link(id).op else { continue };
            let mut place = |cell: &Cell| {
                let same_feature = places.entry(cell.feature()).or_default();
                let known = same_feature.iter().copied().find(|&place| cells[place] == *cell);
                known.unwrap_or_else(|| {
                    same_feature.push(cells.len());
                    cells.push(cell.clone());
                    cells.len() - 1
                })
            };
            sources.push((id, columns.iter().map(&mut place).collect::<Vec<_>>()));
        }
        let width = cells.len();
        let columns = Block { sums: Affine::zeros(width), function: Function::Columns, width, depth: 0 };
        let values = sources.into_iter().map(|(id, places)| (id, Affine::of_block(0, width, places))).collect();
        Network { chain, wanted, uses, cells, blocks: vec![columns], values, weights: 0, limits }
    }

    fn value(&self, id: LinkId) -> Result<&Affine, String> {
        self.values.get(&id).ok_or_else(|| "its branches are in no order".into())
    }

    fn add(&mut self, id: LinkId) -> Result<(), String> {
        let link = self.chain.link(id);
        let before = link.before.unwrap_or(id);
        let value = match &link.op {
            Op::Source(_) => return Ok(()),
            // Only what becomes of branches has it.
            Op::Beside { .. } => return Err("its branches are in layers already".into()),
            Op::Linear { weights, bias } => {
                self.weights = self.weights.saturating_add(weights.len());
                let (inputs, outputs) = (self.value(before)?.inputs(), weights.ncols());
                // A product of matrices may have more elements than both.
                if inputs.saturating_mul(outputs) > (inputs + outputs).saturating_mul(weights.nrows()) {
                    self.pass(before)?;
                }
                self.value(before)?.times(weights, bias, self.limits)?
            }
            Op::Scale { factor, shift } => self.value(before)?.clone().scaled(factor, shift),
            Op::Pick { places } => self.value(before)?.picked(places),
            Op::Activation(_) | Op::PRelu { .. } => self.activated(id)?,
            Op::Norm { .. } => self.block(before, Function::Operations(vec![link.op.clone()]))?,
            Op::Sum { parts } => {
                self.narrow(&parts.iter().map(|&(part, _)| part).collect::<Vec<_>>())?;
                let mut sum = Affine::zeros(link.width);
                for (part, factor) in parts {
                    sum.add(0, self.value(*part)?, *factor, self.limits)?;
                }
                sum
            }
            Op::Concat { parts } => {
                self.narrow(parts)?;
                let (mut all, mut start) = (Affine::zeros(link.width), 0);
                for part in parts {
                    all.add(start, self.value(*part)?, 1.0, self.limits)?;
                    start += self.chain.link(*part).width;
                }
                all
            }
        };
        self.values.insert(id, value);
        if self.uses.get(&id).is_some_and(|&uses| uses > 1) {
            self.pass(id)?;
        }
        Ok(())
    }

    /// Makes neurons of a link's numbers, unless they are numbers of neurons already.
    fn pass(&mut self, id: LinkId) -> Result<(), String> {
        if !self.value(id)?.is_picked() {
            let passed = self.block(id, Function::Passed)?;
            self.values.insert(id, passed);
        }
        Ok(())
    }

    /// What has to wait for a deeper branch waits as few numbers.
    fn narrow(&mut self, parts: &[LinkId]) -> Result<(), String> {
        let mut depths = Vec::with_capacity(parts.len());
        for &part in parts {
            depths.push(self.depth(self.value(part)?));
        }
        let deepest = depths.iter().copied().max().unwrap_or(0);
        for (&part, depth) in parts.iter().zip(depths) {
            let value = self.value(part)?;
            if depth < deepest && value.inputs() > value.width() {
                self.pass(part)?;
            }
        }
        Ok(())
    }

    fn depth(&self, value: &Affine) -> usize {
        value.terms.iter().map(|term| self.blocks[term.block].depth).max().unwrap_or(0)
    }

    /// An activation; a norm before it that nothing else takes is in the same layer.
    fn activated(&mut self, id: LinkId) -> Result<Affine, String> {
        let mut operations = vec![self.chain.link(id).op.clone()];
        let mut at = id;
        while let Some(before) = self.chain.link(at).before.filter(|before| self.uses.get(before) == Some(&1)) {
            at = before;
            let op = &self.chain.link(at).op;
            operations.insert(0, op.clone());
            match op {
                Op::Scale { .. } => {}
                Op::Norm { .. } => {
                    let before = self.chain.link(at).before.unwrap_or(at);
                    return self.block(before, Function::Operations(operations));
                }
                _ => break,
            }
        }
        let link = self.chain.link(id);
        let value = self.value(link.before.unwrap_or(id))?;
        let sums = self.before_passing(value).unwrap_or_else(|| value.clone());
        Ok(self.block_of(sums, Function::Operations(vec![link.op.clone()])))
    }

    /// The same numbers from what goes into the neurons that pass them on: an activation of these is computed beside
    /// them, not a layer later.
    fn before_passing(&self, value: &Affine) -> Option<Affine> {
        let [Term { block, matrix: Matrix::Picks(picks), .. }] = &*value.terms else { return None };
        let Block { sums, function: Function::Passed, .. } = &self.blocks[*block] else { return None };
        let (places, factors): (Vec<usize>, Vec<f64>) = picks.iter().copied().unzip();
        // Else its weights would be many.
        (sums.inputs() <= 2 * sums.width()).then(|| sums.picked(&places).scaled(&factors, &value.shift))
    }

    /// Neurons that make something of a link's numbers.
    fn block(&mut self, before: LinkId, function: Function) -> Result<Affine, String> {
        let sums = self.value(before)?.clone();
        Ok(self.block_of(sums, function))
    }

    fn block_of(&mut self, sums: Affine, function: Function) -> Affine {
        let sums = sums.without_zeros();
        let (width, depth) = (sums.width(), self.depth(&sums) + 1);
        self.blocks.push(Block { sums, function, width, depth });
        Affine::of_block(self.blocks.len() - 1, width, 0..width)
    }
}

impl Link {
    /// The links that it takes.
    fn befores(&self) -> Vec<LinkId> {
        match &self.op {
            Op::Sum { parts } => parts.iter().map(|&(part, _)| part).collect(),
            Op::Concat { parts } => parts.clone(),
            _ => self.before.into_iter().collect(),
        }
    }
}
