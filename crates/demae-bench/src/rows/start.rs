//! From the start of the process until `/readyz` answers 200: the first time, with a database to be made, and later.

use anyhow::Result;

use super::lab::Lab;
use crate::{
    bed::{Bed, StoreKind},
    report::{Figure, Unit},
    row::Row,
};

/// Of a clean start.
const TARGET: (&str, f64) = ("< 300 ms", 300.0);

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let mut bed = Bed::prepare(store, 1).await?;
    let first = bed.time_start().await? * 1e3;
    let mut later = Vec::new();
    for _ in 0..lab.effort.starts {
        bed.stop_server().await?;
        later.push(bed.time_start().await? * 1e3);
    }
    later.sort_by(f64::total_cmp);
    Ok(vec![
        Figure::new(Row::Start, Some(store), "")
            .with("", later[later.len() / 2], Unit::Milliseconds)
            .with("with an empty database", first, Unit::Milliseconds)
            .aiming(TARGET.0, first < TARGET.1)
            .noting(format!("median of {} starts", later.len())),
    ])
}
