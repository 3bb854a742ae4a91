//! What the seeds don't draw: courses of events, each with its own end.

use super::*;
use crate::kafka::simulated::{Fault, fault};
use crate::worker::{WorkerError, WorkerExit};

/// A world without faults of its own.
fn world(is_exactly_once: bool) -> SharedWorld {
    let mut world = World::new(1, Instant::now(), false);
    world.heal();
    world.is_exactly_once = is_exactly_once;
    Rc::new(RefCell::new(world))
}

#[test]
fn a_worker_gets_other_clients_when_an_input_topic_appears() {
    let stage = Stage::new();
    for is_exactly_once in [false, true] {
        let world = world(is_exactly_once);
        world.borrow_mut().lack_input(1, Duration::from_secs(2));
        let stop = Arc::new(Stop::new(Duration::ZERO));
        let exit = stage.with_worker(&world, &stage.routes(), stop, |worker| Ok(worker.run())).unwrap().unwrap();
        assert_eq!(exit, WorkerExit::ClientsOutdated { reason: "topic in-1 can be consumed now".into() });
        let world = world.borrow();
        assert_eq!(world.subscribed, ["in-0"]);
        assert!(!world.visible().is_empty(), "the other route has continued");
    }
}

#[test]
fn a_worker_that_its_group_does_not_take_gets_other_clients() {
    let stage = Stage::new();
    let world = world(true);
    world.borrow_mut().keep_out();
    let stop = Arc::new(Stop::new(Duration::ZERO));
    let began = world.borrow().now;
    let exit = stage.with_worker(&world, &stage.routes(), stop, |worker| Ok(worker.run())).unwrap().unwrap();
    assert!(matches!(exit, WorkerExit::ClientsOutdated { .. }), "{exit:?}");
    let time = world.borrow().now.duration_since(began);
    assert!((SESSION * 2..SESSION * 3).contains(&time), "{time:?}");
}

#[test]
fn a_transaction_that_stays_open_upstream_is_reported() {
    let stage = Stage::new();
    let world = world(false);
    world.borrow_mut().hold_back(0);
    let stop = Arc::new(Stop::new(Duration::ZERO));
    let began = world.borrow().now;
    let outcome = stage.with_worker(&world, &stage.routes(), stop, |worker| {
        while world.borrow().now.duration_since(began) < Duration::from_secs(150) {
            worker.round().map_err(|error| error.to_string())?;
        }
        Ok((stage.health.reasons(), stage.metrics.render().unwrap()))
    });
    let (reasons, metrics) = outcome.unwrap();
    let is_named = |reason: &String| reason.contains("in-0 [0]: a transaction of its producer has been open for");
    assert!(reasons.len() == 1 && is_named(&reasons[0]), "{reasons:?}");
    for (route, waits) in [(0, 1), (1, 0)] {
        let line = format!(r#"weir_route_waiting{{reason="transaction",route="{route}"}} {waits}"#);
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[test]
fn offsets_that_are_refused_again_and_again_make_the_worker_unready() {
    let stage = Stage::new();
    let world = world(true);
    world.borrow_mut().refuses_offsets = true;
    let stop = Arc::new(Stop::new(Duration::ZERO));
    let began = world.borrow().now;
    let outcome = stage.with_worker(&world, &stage.routes(), stop, |worker| {
        while world.borrow().now.duration_since(began) < Duration::from_secs(30) {
            worker.round().map_err(|error| error.to_string())?;
        }
        let refused = stage.health.reasons();
        world.borrow_mut().refuses_offsets = false;
        while !world.borrow().is_settled() {
            worker.round().map_err(|error| error.to_string())?;
        }
        // Readiness follows within a second.
        let settled = world.borrow().now;
        while world.borrow().now.duration_since(settled) < Duration::from_secs(2) {
            worker.round().map_err(|error| error.to_string())?;
        }
        Ok((refused, stage.health.reasons()))
    });
    let (refused, settled) = outcome.unwrap();
    assert!(refused.len() == 1 && refused[0].contains("commits failed: "), "{refused:?}");
    assert!(settled.is_empty(), "{settled:?}");
}

#[test]
fn a_stop_that_cannot_commit_reports_that() {
    let stage = Stage::new();
    let world = world(true);
    let stop = Arc::new(Stop::new(Duration::from_secs(10)));
    let routes = stage.routes();
    let outcome = stage.with_worker(&world, &routes, stop.clone(), |worker| {
        while world.borrow().transaction.is_none() {
            worker.round().map_err(|error| error.to_string())?;
        }
        world.borrow_mut().refuses_offsets = true;
        stop.request();
        Ok(worker.run())
    });
    assert!(matches!(outcome, Ok(Err(WorkerError::NotCommitted { .. }))), "{outcome:?}");
    assert!(world.borrow().visible().is_empty(), "what was produced is aborted");
}

#[test]
fn a_static_member_whose_name_another_one_takes_says_what_to_do() {
    let error = WorkerError::from(fault(Fault::FencedInstance));
    assert!(matches!(error, WorkerError::InstanceFenced) && error.to_string().contains("worker.instance"), "{error}");
    assert!(matches!(WorkerError::from(fault(Fault::Busy)), WorkerError::Client(_)));
}
