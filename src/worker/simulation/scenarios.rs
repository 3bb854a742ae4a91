//! What the seeds don't draw: courses of events, each with its own end.

use super::faults::Course;
use super::world::Log;
use super::*;
use crate::kafka::consumer::Position;
use crate::kafka::simulated::{Fault, fault};
use crate::monitor::metrics::WaitReason;
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

/// Lets a worker of a world work until this is so, and returns what it is then.
fn work_until<T>(
    stage: &Stage,
    world: &SharedWorld,
    routes: &[Route],
    mut is_met: impl FnMut(&mut World) -> Option<T>,
) -> T {
    let stop = Arc::new(Stop::new(Duration::ZERO));
    let met = stage.with_worker(world, routes, stop, |worker| {
        loop {
            worker.round().map_err(|error| error.to_string())?;
            let mut world = world.borrow_mut();
            if let Some(met) = is_met(&mut world) {
                return Ok(met);
            }
            if world.is_overdue() {
                return Err(format!("the worker stands still: {}", world.describe()));
            }
        }
    });
    met.unwrap()
}

#[test]
fn log_lines_before_it_delay_no_event_of_the_group() {
    let stage = Stage::new();
    // Served one at a time, as once, each of them costs a wait.
    let times = [false, true].map(|serves_one_line| {
        let world = world(false);
        let began = world.borrow().now;
        world.borrow_mut().course = Course { log_lines: 1_200, serves_one_line, ..Course::default() };
        work_until(&stage, &world, &stage.routes(), |world| {
            (!world.visible().is_empty()).then(|| world.now.duration_since(began))
        })
    });
    assert!(times[0] < Duration::from_secs(3) && times[1] > Duration::from_secs(30), "{times:?}");
}

#[test]
fn a_backlog_of_one_route_delays_no_other() {
    let stage = Stage::new();
    // In one queue for all routes, as once, the other route's records are behind it.
    let counts = [false, true].map(|shares_one_queue| {
        let (world, routes) = (world(false), stage.routes());
        world.borrow_mut().course.shares_one_queue = shares_one_queue;
        // Everything is fetched while the route waits.
        routes[0].gate.close(WaitReason::ByHand);
        world.borrow_mut().append(0, 2_000);
        // One that is refused would be fetched again, and come after the others.
        let all_good = |log: &mut Log| log.records.iter_mut().for_each(|record| record.kind = Kind::Good);
        world.borrow_mut().logs.iter_mut().for_each(all_good);
        let (began, mut since) = (world.borrow().now, None);
        let outputs = |world: &World, toppar: usize| {
            let visible = world.visible();
            world.logs[toppar].records.iter().filter(|record| visible.contains_key(&record.id)).count()
        };
        work_until(&stage, &world, &routes, |world| {
            if world.now.duration_since(began) < Duration::from_secs(30) {
                return None;
            }
            let before = *since.get_or_insert_with(|| {
                routes[0].gate.open(WaitReason::ByHand);
                world.append(2, 5);
                world.logs.iter_mut().for_each(all_good);
                outputs(world, 0)
            });
            (outputs(world, 2) == world.logs[2].records.len()).then(|| outputs(world, 0) - before)
        })
    });
    assert!(counts[0] < 1_000 && counts[1] > 1_500, "{counts:?}");
}

#[test]
fn a_partition_without_a_place_to_begin_is_named_and_begins_where_the_group_is_set() {
    let stage = Stage::new();
    let (world, routes) = (world(false), stage.routes());
    world.borrow_mut().course.has_no_reset = true;
    let (began, mut named) = (world.borrow().now, None);
    work_until(&stage, &world, &routes, |world| {
        if world.now.duration_since(began) < Duration::from_secs(5) {
            return None;
        }
        if named.is_none() {
            named = Some(stage.health.reasons());
            world.logs.iter_mut().for_each(|log| log.committed = Some((Position::at(0), None)));
        }
        (world.is_settled() && stage.health.reasons().is_empty()).then_some(())
    });
    let named = named.unwrap();
    assert!(named.len() == 1 && named[0].contains("in-0 [0]: it has no committed offset"), "{named:?}");
}

#[test]
fn a_coordinator_that_does_not_answer_makes_the_worker_unready() {
    let stage = Stage::new();
    let (world, routes, reasons) = (world(true), stage.routes(), Rc::new(RefCell::new(Vec::new())));
    let (health, seen) = (stage.health.clone(), reasons.clone());
    let away = Duration::from_secs(30);
    let began = world.borrow().now;
    let look: Box<dyn FnOnce()> = Box::new(move || *seen.borrow_mut() = health.reasons());
    world.borrow_mut().course.probe = Some((began + away / 2, look));
    world.borrow_mut().course.coordinator_back_at = Some(began + away);
    work_until(&stage, &world, &routes, |world| {
        (world.is_settled() && stage.health.reasons().is_empty()).then_some(())
    });
    let reasons = reasons.borrow();
    assert!(reasons.len() == 1 && reasons[0].contains("hasn't answered for"), "{reasons:?}");
}

#[test]
fn a_worker_gets_other_clients_when_an_output_takes_other_batches() {
    let stage = Stage::new();
    for is_exactly_once in [false, true] {
        let world = world(is_exactly_once);
        world.borrow_mut().course.output_limit = Some(20_000);
        let stop = Arc::new(Stop::new(Duration::ZERO));
        let exit = stage.with_worker(&world, &stage.routes(), stop, |worker| Ok(worker.run())).unwrap().unwrap();
        assert_eq!(exit, WorkerExit::ClientsOutdated { reason: "the outputs take batches of 19488 bytes now".into() });
    }
}
