//! The type of the parts of the log and of the traces.

use tracing_subscriber::Registry;

/// A part, whatever it is made of.
pub(super) type BoxedLayer = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;
