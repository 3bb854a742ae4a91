//! What training needs of the engine beside the layers: the products of a minibatch, sums of chosen rows for inputs that
//! are mostly zeros, the steps of the optimizers, and threads that share all of it.
//!
//! Everything works on the values it is given and on the fastest kernel of the machine; the results don't depend on how
//! the work is cut.

mod matrix;
mod product;
mod rows;
mod step;
mod team;

pub use matrix::Matrix;
pub use product::{Start, multiply};
pub use rows::{NONE, add_rows, add_to_chosen, sum_chosen};
pub use step::{Adam, Momentum, finish};
pub use team::Team;
