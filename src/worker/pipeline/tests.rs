//! The version that a route takes from its slot.

use std::time::Duration;

use super::*;
use crate::kafka::consumer::Record;
use crate::model::signature::Missing;
use crate::model::testing;

/// A model of a feature `x`, which a record must have or not.
fn model(version: u64, is_required: bool) -> Arc<Model> {
    let mut draft = testing::regression("m", 0.5);
    if !is_required {
        draft.signature.features[0].missing = Missing::Constant { value: 0.0 };
    }
    let (_, files) = draft.bundle(version, String::new()).unwrap();
    Arc::new(Model::load(&files, |_| {}).unwrap())
}

#[test]
fn a_version_that_the_columns_lack_a_feature_for_leaves_the_one_before_it() {
    let config = toml::from_str(
        "name = \"r\"\nmodel = \"m@latest\"\ninput = { topics = [\"i\"], format = \"csv\", columns = [\"y\"] }\n\
         output = { topic = \"o\" }\ndead_letter = { topic = \"d\" }\n",
    );
    let route = Route::new(config.unwrap());
    let metrics = Metrics::new(Duration::from_secs(60));
    let (batch, now) = (BatchConfig { max_rows: 1, max_delay_us: 0 }, Instant::now());
    let mut pipeline: RoutePipeline<Record<'_>> = RoutePipeline::new(route.clone(), &batch, vec![0], &metrics, false);

    route.slot.store(model(1, true));
    assert!(!pipeline.is_open(now) && pipeline.waits_for(WaitReason::Model));
    assert_eq!(
        pipeline.refusal().unwrap(),
        "route r: version 1 of m can't score its records: input.columns lacks \"x\", which the model requires"
    );
    route.slot.store(model(2, false));
    assert!(pipeline.is_open(now) && pipeline.refusal().is_none());
    route.slot.store(model(3, true));
    pipeline.take_current_model();
    assert!(pipeline.is_open(now) && pipeline.refusal().is_none());
    assert_eq!(pipeline.active().scorer.model().version(), 2);
}
