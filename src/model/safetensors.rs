//! A model from a safetensors file, such as a state_dict of PyTorch, and a TOML that names its layers.
//!
//! The file has tensors under names and nothing else: what they are for, in which order, and how the features were
//! scaled, is in the `description`. All that is wrong with it is reported at once.

mod description;
mod stack;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::{fmt, io};

use ::safetensors::{Dtype, SafeTensorError, SafeTensors};
use half::{bf16, f16};
use ndarray::{Array1, Array2};

use super::import::Imported;
use super::preprocess::{Preprocess, Step, Transform};
use super::signature::{Signature, Target};
use crate::engine::{Activation, Output};
use crate::limits::read_file;

use description::{BatchNorm, Description, LayerNorm, Linear, Module};
use stack::Stack;

/// Why tensors don't become a model.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// A file can't be read.
    #[error("can't read {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file's header and its length contradict each other, or it has no such header.
    #[error("it isn't a safetensors file, or not all of it: write it again with safetensors.torch.save_file")]
    File(#[source] SafeTensorError),
    /// The description isn't TOML.
    #[error("the layers' file isn't TOML")]
    Toml(#[source] toml::de::Error),
    /// The description is wrong, or the tensors don't fit it.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

/// Everything that is wrong with a description and its tensors.
#[derive(Debug)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the layers' file doesn't fit: {only}"),
            all => {
                write!(f, "the layers' file doesn't fit, for {} reasons:", all.len())?;
                all.iter().try_for_each(|mistake| write!(f, "\n  - {mistake}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

/// Makes a model of a safetensors file and the file that describes it.
pub fn read(file: &Path, description: &Path) -> Result<Imported, SafetensorsError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| SafetensorsError::Io { path, source }
    };
    let tensors = read_file(file).map_err(at(file))?;
    let text = read_file(description).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    import(&tensors, &text.map_err(at(description))?)
}

/// Makes a model of the bytes of a safetensors file and the text of its description.
///
/// Tensors are F32, F16 or BF16; the layers are f32. Tensors that the description doesn't name don't matter.
pub fn import(file: &[u8], description: &str) -> Result<Imported, SafetensorsError> {
    let tensors = SafeTensors::deserialize(file).map_err(SafetensorsError::File)?;
    let description = description.parse().map_err(SafetensorsError::Toml)?;
    let mut mistakes = Vec::new();
    let imported = Description::read(description, &mut mistakes)
        .and_then(|description| Assembly::new(tensors, &mut mistakes).assemble(description));
    match imported {
        Some(imported) if mistakes.is_empty() => Ok(imported),
        _ => Err(Mistakes(mistakes).into()),
    }
}

/// Tensors on their way into layers. What doesn't fit is noted, and the walk goes on.
struct Assembly<'a> {
    tensors: SafeTensors<'a>,
    mistakes: &'a mut Vec<String>,
    /// Whether a tensor that the description names isn't there.
    absent: bool,
    /// Whether a matrix is, so that nobody knows how many columns there are until the next one.
    lost: bool,
}

impl<'a> Assembly<'a> {
    fn new(tensors: SafeTensors<'a>, mistakes: &'a mut Vec<String>) -> Assembly<'a> {
        Assembly { tensors, mistakes, absent: false, lost: false }
    }

    fn assemble(mut self, description: Description) -> Option<Imported> {
        let Description { signature, mut preprocessing, modules } = description;
        let preprocess = Preprocess::new(&signature, &preprocessing).map_err(|mistake| self.note(mistake)).ok()?;
        let columns: Vec<_> = preprocess.columns().collect();
        let mut stack = Stack::new(preprocess.width());
        let last_is_logistic = matches!(modules.last(), Some(Module::Activation(Activation::Logistic)));
        for (index, module) in modules.into_iter().enumerate() {
            match module {
                Module::Linear(linear) => self.linear(&mut stack, &linear),
                Module::BatchNorm(norm) => {
                    let Some((mut scale, mut shift)) = self.batch_norm(stack.width(), &norm) else { continue };
                    if index == 0 {
                        let transforms = preprocessing.iter_mut().zip(&columns);
                        scale_numbers(transforms.map(|(t, columns)| (t, columns.start)), &mut scale, &mut shift);
                    }
                    stack.affine(scale, shift);
                }
                Module::LayerNorm(norm) => {
                    if let Some(norm) = self.layer_norm(stack.width(), &norm) {
                        stack.layer_norm(norm);
                    }
                }
                Module::Activation(activation) => stack.activation(activation),
                Module::PRelu(name) => self.prelu(&mut stack, &name),
            }
        }
        let output = self.output(&signature, stack.width(), last_is_logistic);
        if self.absent {
            self.note(format!("the file has {}", some_of(self.tensors.names())));
        }
        let output = output?;
        let recipe = [("imported_from".to_owned(), "safetensors".into())].into_iter().collect();
        Some(Imported { signature, preprocessing, layers: stack.finish(), output, recipe, reference: None })
    }

    fn linear(&mut self, stack: &mut Stack, linear: &Linear) {
        let Linear { weight: name, bias, transposed, guessed } = linear;
        let Some((shape, values)) = self.tensor(name) else {
            self.lost = true;
            return;
        };
        let &[rows, columns] = shape.as_slice() else {
            return self.note(format!("tensor {name:?} has the shape {shape:?}, a matrix is needed"));
        };
        let (inputs, outputs) = if *transposed { (rows, columns) } else { (columns, rows) };
        let bias = match self.optional(bias.as_deref(), *guessed) {
            Some(bias) => self.vector(bias, outputs),
            None => Some(Array1::zeros(outputs)),
        };
        if std::mem::take(&mut self.lost) {
            *stack = Stack::new(inputs);
        }
        if inputs != stack.width() {
            let order = if *transposed { "inputs × outputs" } else { "outputs × inputs" };
            let turned =
                if outputs == stack.width() { format!("; is it transposed = {}?", !transposed) } else { "".into() };
            let width = stack.width();
            self.note(format!("tensor {name:?} is {rows} × {columns} ({order}), {width} inputs come to it{turned}"));
            // As if it fitted, so that what comes after is compared with this one.
            *stack = Stack::new(outputs);
            return;
        }
        if let (Ok(matrix), Some(bias)) = (Array2::from_shape_vec((rows, columns), values), bias) {
            stack.linear(if *transposed { matrix } else { matrix.reversed_axes() }, bias);
        }
    }

    /// A batch norm at rest, as a factor and an addend per column.
    fn batch_norm(&mut self, width: usize, norm: &BatchNorm) -> Option<(Array1<f64>, Array1<f64>)> {
        let mean = self.vector(&norm.running_mean, width);
        let variance = self.vector(&norm.running_var, width);
        let (weight, bias) = self.scale_and_shift(width, norm.weight.as_deref(), norm.bias.as_deref(), norm.guessed);
        let epsilon = self.epsilon(norm.epsilon);
        let (scale, mean) = (weight? / (variance? + epsilon?).mapv(f64::sqrt), mean?);
        if !scale.iter().all(|factor| factor.is_finite()) {
            self.note(format!("tensor {:?} has a variance that nothing can be divided by", norm.running_var));
            return None;
        }
        let shift = bias? - mean * &scale;
        Some((scale, shift))
    }

    fn layer_norm(&mut self, width: usize, norm: &LayerNorm) -> Option<stack::LayerNorm> {
        // Its weight distinguishes a typing error from a norm without one.
        let weight_is_there = norm.weight.as_deref().is_none_or(|name| self.tensor(name).is_some());
        let (scale, shift) = self.scale_and_shift(width, norm.weight.as_deref(), norm.bias.as_deref(), norm.guessed);
        let epsilon = self.epsilon(norm.epsilon)?;
        weight_is_there.then_some(stack::LayerNorm { scale: scale?, shift: shift?, epsilon })
    }

    /// One slope for all columns, or one for each.
    fn prelu(&mut self, stack: &mut Stack, name: &str) {
        let Some((shape, slopes)) = self.tensor(name) else { return };
        let slopes: Vec<f32> = slopes.into_iter().map(|slope| slope as f32).collect();
        match *slopes {
            [slope] => stack.activation(Activation::LeakyRelu { slope }),
            _ if self.lost => {}
            _ if shape == [stack.width()] => stack.prelu(slopes.into()),
            _ => self.note(format!("tensor {name:?} has the shape {shape:?}, [1] or [{}] is needed", stack.width())),
        }
    }

    fn scale_and_shift(
        &mut self,
        width: usize,
        weight: Option<&str>,
        bias: Option<&str>,
        guessed: bool,
    ) -> (Option<Array1<f64>>, Option<Array1<f64>>) {
        let mut vector = |name, otherwise| match self.optional(name, guessed) {
            Some(name) => self.vector(name, width),
            None => Some(Array1::from_elem(width, otherwise)),
        };
        (vector(weight, 1.0), vector(bias, 0.0))
    }

    fn epsilon(&mut self, epsilon: f64) -> Option<f64> {
        if epsilon.is_finite() && epsilon >= 0.0 {
            return Some(epsilon);
        }
        self.note(format!("a norm has the epsilon {epsilon}: it is finite and not below 0"));
        None
    }

    /// What the logits become, if they fit the target.
    fn output(&mut self, signature: &Signature, width: usize, last_is_logistic: bool) -> Option<Output> {
        let output = match &signature.target {
            _ if self.lost => return None,
            Target::Classification { .. } if last_is_logistic => {
                self.note("leave the last sigmoid out: classes get their probabilities from the logits".into());
                return None;
            }
            Target::Classification { classes, .. } if classes.len() == width => Output::Softmax,
            Target::Classification { classes, .. } if classes.len() == 2 && width == 1 => Output::Logistic,
            Target::Regression { names } if names.len() == width => Output::Identity,
            Target::Classification { classes: names, .. } | Target::Regression { names } => {
                self.note(format!("the last layer has {width} outputs, the target names {}", names.len()));
                return None;
            }
        };
        Some(output)
    }

    /// An optional tensor's name; one that was only guessed counts if it is there.
    fn optional<'n>(&self, name: Option<&'n str>, guessed: bool) -> Option<&'n str> {
        name.filter(|name| !guessed || self.tensors.tensor(name).is_ok())
    }

    fn vector(&mut self, name: &str, width: usize) -> Option<Array1<f64>> {
        let (shape, values) = self.tensor(name)?;
        if self.lost {
            return None;
        }
        if shape != [width] {
            self.note(format!("tensor {name:?} has the shape {shape:?}, [{width}] is needed"));
            return None;
        }
        Some(values.into())
    }

    /// Shape and values of a tensor; values are finite.
    fn tensor(&mut self, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
        let Ok(tensor) = self.tensors.tensor(name) else {
            self.absent = true;
            self.note(format!("tensor {name:?} isn't in the file"));
            return None;
        };
        let bytes = tensor.data();
        let values: Vec<f64> = match tensor.dtype() {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).into()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).into()).collect(),
            other => {
                self.note(format!("tensor {name:?} is {other}: F32, F16 and BF16 are known"));
                return None;
            }
        };
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            self.note(format!("tensor {name:?} has the value {value}: its training came to no good end"));
            return None;
        }
        Some((tensor.shape().into(), values))
    }

    fn note(&mut self, mistake: String) {
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }
}

/// The first names in their order, as many as a line has room for.
fn some_of(mut names: Vec<&str>) -> String {
    const MOST: usize = 20;
    names.sort_unstable();
    match names.len() {
        0 => "no tensors".into(),
        count @ ..=MOST => format!("{count} tensors: {}", names.join(", ")),
        count => format!("{count} tensors: {}, …", names[..MOST].join(", ")),
    }
}

/// A batch norm of the features themselves is often all the scaling there is. Of numbers it becomes steps, in f64: folded
/// into the weights it would take large numbers as raw f32. `scale` and `shift` keep what isn't done by that.
fn scale_numbers<'a>(
    transforms: impl Iterator<Item = (&'a mut Transform, usize)>,
    scale: &mut Array1<f64>,
    shift: &mut Array1<f64>,
) {
    for (transform, column) in transforms {
        if let Transform::Numeric { steps, .. } = transform {
            steps.extend([Step::Multiply { value: scale[column] }, Step::Add { value: shift[column] }]);
            (scale[column], shift[column]) = (1.0, 0.0);
        }
    }
}
