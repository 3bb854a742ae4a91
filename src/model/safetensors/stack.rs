//! Modules in their order become layers.
//!
//! A layer of the engine is a matrix, a norm and an activation. What comes in another order is brought into that: a
//! batch norm at rest multiplies and adds, so it is folded into what is before it, or else into the matrix after it; what
//! has no matrix to stand behind gets the identity. Folding is in f64, rounded once.

use ndarray::{Array1, Array2, Axis};

use crate::engine::{Activation, Layer, Norm, NormPlace, Weights};

/// Layers under construction.
pub(super) struct Stack {
    pieces: Vec<Piece>,
    /// Columns of what was stacked last.
    width: usize,
    /// `x · scale + shift`, which the next matrix takes in.
    pending: Option<(Array1<f64>, Array1<f64>)>,
}

/// A layer in f64.
struct Piece {
    weights: Array2<f64>,
    bias: Array1<f64>,
    norm: Option<(NormPlace, LayerNorm)>,
    activation: Activation,
    slopes: Option<Array1<f32>>,
}

/// A layer norm in f64.
pub(super) struct LayerNorm {
    pub(super) scale: Array1<f64>,
    pub(super) shift: Array1<f64>,
    pub(super) epsilon: f64,
}

impl Stack {
    /// Nothing behind an input of so many columns.
    pub(super) fn new(width: usize) -> Stack {
        Stack { pieces: Vec::new(), width, pending: None }
    }

    /// Columns of what was stacked last.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// `x · weights + bias`; the weights are inputs × outputs, with as many inputs as there are columns.
    pub(super) fn linear(&mut self, mut weights: Array2<f64>, mut bias: Array1<f64>) {
        if let Some((scale, shift)) = self.pending.take() {
            bias += &shift.dot(&weights);
            weights *= &scale.insert_axis(Axis(1));
        }
        self.width = bias.len();
        self.pieces.push(Piece { weights, bias, norm: None, activation: Activation::Identity, slopes: None });
    }

    /// `x · scale + shift`, each with a value per column: a batch norm.
    pub(super) fn affine(&mut self, scale: Array1<f64>, shift: Array1<f64>) {
        if let Some((scale_before, shift_before)) = &mut self.pending {
            *shift_before = &*shift_before * &scale + &shift;
            *scale_before *= &scale;
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece { norm: Some((place, norm)), activation, .. })
                if *place == NormPlace::AfterActivation || *activation == Activation::Identity =>
            {
                norm.shift = &norm.shift * &scale + &shift;
                norm.scale *= &scale;
            }
            Some(Piece { weights, bias, norm: None, activation: Activation::Identity, .. }) => {
                *bias = &*bias * &scale + &shift;
                *weights *= &scale;
            }
            _ => self.pending = Some((scale, shift)),
        }
    }

    /// A layer norm over the columns.
    pub(super) fn layer_norm(&mut self, norm: LayerNorm) {
        let piece = self.open(|piece| piece.norm.is_none());
        let place = match piece.activation {
            Activation::Identity => NormPlace::BeforeActivation,
            _ => NormPlace::AfterActivation,
        };
        piece.norm = Some((place, norm));
    }

    /// An activation.
    pub(super) fn activation(&mut self, activation: Activation) {
        if activation != Activation::Identity {
            self.open(|piece| piece.activation == Activation::Identity).activation = activation;
        }
    }

    /// A PReLU with a slope for each column.
    pub(super) fn prelu(&mut self, slopes: Array1<f32>) {
        let piece = self.open(|piece| piece.activation == Activation::Identity);
        (piece.activation, piece.slopes) = (Activation::PRelu, Some(slopes));
    }

    /// The layers, in f32.
    pub(super) fn finish(mut self) -> Vec<Layer> {
        if self.pending.is_some() {
            self.identity();
        }
        self.pieces.into_iter().map(Piece::into_layer).collect()
    }

    /// The last piece if it has room and nothing stands behind it, else the identity.
    fn open(&mut self, has_room: fn(&Piece) -> bool) -> &mut Piece {
        if self.pending.is_some() || !self.pieces.last().is_some_and(has_room) {
            self.identity();
        }
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
    }

    fn identity(&mut self) {
        self.linear(Array2::eye(self.width), Array1::zeros(self.width));
    }
}

impl Piece {
    fn into_layer(self) -> Layer {
        let single = |values: Array1<f64>| values.mapv(|value| value as f32);
        Layer {
            weights: Weights::F32(self.weights.mapv(|weight| weight as f32)),
            bias: single(self.bias),
            activation: self.activation,
            slopes: self.slopes,
            norm: self.norm.map(|(place, norm)| Norm {
                scale: single(norm.scale),
                shift: single(norm.shift),
                epsilon: norm.epsilon as f32,
                place,
            }),
            passed: 0,
        }
    }
}
