use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::model::testing;

struct Scene {
    directory: TempDir,
    store: Store,
    slots: Vec<Arc<Slot>>,
    rollout: Rollout,
    events: mpsc::Receiver<RolloutEvent>,
    now: Instant,
}

impl Scene {
    fn new(references: &[&str]) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().to_str().unwrap()).unwrap();
        let slots: Vec<_> = references.iter().map(|_| Arc::new(Slot::new())).collect();
        let (sender, events) = mpsc::channel();
        let routes = references.iter().zip(&slots).map(|(text, slot)| (text.parse().unwrap(), slot.clone()));
        let rollout = Rollout::new(store.clone(), routes, move |event| sender.send(event).unwrap());
        Scene { directory, store, slots, rollout, events, now: Instant::now() }
    }

    fn publish(&self, name: &str, bias: f32) -> u64 {
        self.store.publish(&testing::regression(name, bias)).unwrap()
    }

    /// Does a round, this much later than the one before; gives its events.
    fn step_after(&mut self, later: Duration) -> Vec<String> {
        self.now += later;
        self.rollout.step(self.now);
        self.events.try_iter().map(|event| describe(&event)).collect()
    }

    fn step(&mut self) -> Vec<String> {
        self.step_after(Duration::from_secs(1))
    }

    fn versions(&self) -> Vec<Option<u64>> {
        self.slots.iter().map(|slot| slot.load().map(|model| model.version())).collect()
    }

    fn file(&self, version: u64, file: &str) -> PathBuf {
        self.directory.path().join("m").join(version.to_string()).join(file)
    }
}

fn describe(event: &RolloutEvent) -> String {
    match event {
        RolloutEvent::Loaded { reference, model, replaced, took } => {
            let replaced = replaced.as_ref().map_or(0, |model| model.version());
            let how = if took.is_some() { "loaded" } else { "shared" };
            format!("{reference}: {replaced} -> {} {how}", model.version())
        }
        RolloutEvent::Refused { reference, version, .. } => format!("{reference}: {version} refused"),
        RolloutEvent::Recovered { reference, version } => format!("{reference}: {version} again"),
        RolloutEvent::Unresolved { reference, .. } => format!("{reference}: unresolved"),
    }
}

#[test]
fn slots_follow_their_references() {
    let mut scene = Scene::new(&["m@production", "m@latest", "m@1", "m@production"]);
    scene.publish("m", 1.0);
    scene.store.promote("m", "production", 1).unwrap();
    assert!(!*scene.rollout.usable().borrow());
    assert_eq!(scene.step(), ["m@production: 0 -> 1 loaded", "m@latest: 0 -> 1 shared", "m@1: 0 -> 1 shared"]);
    assert!(*scene.rollout.usable().borrow());
    assert!(scene.step().is_empty());
    let held = scene.slots[0].load().unwrap();

    scene.publish("m", 2.0);
    assert_eq!(scene.step(), ["m@latest: 1 -> 2 loaded"]);
    scene.store.promote("m", "production", 2).unwrap();
    assert_eq!(scene.step(), ["m@production: 1 -> 2 shared"]);
    assert_eq!(scene.versions(), [Some(2), Some(2), Some(1), Some(2)]);
    let (one, other) = (scene.slots[0].load().unwrap(), scene.slots[3].load().unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(held.version(), 1, "who holds a replaced version keeps it");

    scene.store.promote("m", "production", 1).unwrap();
    assert_eq!(scene.step(), ["m@production: 2 -> 1 shared"]);
}

#[test]
fn the_last_holder_frees_a_replaced_version() {
    let mut scene = Scene::new(&["m@latest"]);
    scene.publish("m", 1.0);
    scene.step();
    let first = Arc::downgrade(&scene.slots[0].load().unwrap());
    scene.publish("m", 2.0);
    scene.step();
    assert!(first.upgrade().is_none());
}

#[test]
fn a_bad_version_is_refused_once_and_the_running_one_serves_on() {
    let mut scene = Scene::new(&["m@latest"]);
    scene.publish("m", 1.0);
    scene.step();
    scene.publish("m", 2.0);
    let weights = scene.file(2, "weights.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 1]).unwrap();

    assert_eq!(scene.step(), ["m@latest: 2 refused"]);
    assert_eq!(scene.versions(), [Some(1)]);
    // Not tried again each round: it would load now.
    fs::write(&weights, &whole).unwrap();
    assert!(scene.step_after(RETRY - Duration::from_secs(1)).is_empty());
    assert_eq!(scene.versions(), [Some(1)]);
    assert_eq!(scene.step(), ["m@latest: 1 -> 2 loaded"]);

    // Tried again, but the same reason isn't said again; another one is.
    scene.publish("m", 3.0);
    let weights = scene.file(3, "weights.safetensors");
    fs::write(&weights, "").unwrap();
    assert_eq!(scene.step(), ["m@latest: 3 refused"]);
    assert!(scene.step_after(RETRY).is_empty());
    fs::remove_file(&weights).unwrap();
    assert!(scene.step().is_empty());
    assert_eq!(scene.step_after(RETRY), ["m@latest: 3 refused"]);

    // Another version isn't made to wait.
    scene.publish("m", 4.0);
    assert_eq!(scene.step(), ["m@latest: 2 -> 4 loaded"]);
}

#[test]
fn going_back_to_a_refused_version_says_so_again() {
    let mut scene = Scene::new(&["m@production"]);
    scene.publish("m", 1.0);
    scene.publish("m", 2.0);
    fs::write(scene.file(2, "golden.json"), "{}").unwrap();
    scene.store.promote("m", "production", 1).unwrap();
    scene.step();
    for _ in 0..2 {
        scene.store.promote("m", "production", 2).unwrap();
        assert_eq!(scene.step(), ["m@production: 2 refused"]);
        scene.store.promote("m", "production", 1).unwrap();
        assert_eq!(scene.step(), ["m@production: 1 again"], "it is still there");
        assert!(scene.step().is_empty(), "said once");
    }
}

#[test]
fn a_store_that_does_not_answer_leaves_the_running_version() {
    let mut scene = Scene::new(&["m@production", "other@latest"]);
    assert_eq!(scene.step(), ["m@production: unresolved", "other@latest: unresolved"]);
    assert!(!*scene.rollout.usable().borrow());
    assert!(scene.step_after(RETRY).is_empty(), "said once");
    scene.publish("m", 1.0);
    assert!(scene.step().is_empty());
    scene.store.promote("m", "production", 1).unwrap();
    assert_eq!(scene.step(), ["m@production: 0 -> 1 loaded"]);
    assert!(*scene.rollout.usable().borrow(), "the other one may come when it likes");

    fs::write(scene.directory.path().join("m/aliases.json"), "?").unwrap();
    assert_eq!(scene.step(), ["m@production: unresolved"]);
    assert_eq!(scene.versions(), [Some(1), None]);
    scene.publish("other", 1.0);
    assert_eq!(scene.step(), ["other@latest: 0 -> 1 loaded"]);
}

#[test]
fn a_load_that_panics_is_a_refusal() {
    // Sixteen tensors whose sizes add up to just below 2^64: the safetensors crate adds the header's length to that,
    // which overflows, and with overflow checks (as in tests) panics.
    let mut scene = Scene::new(&["m@latest"]);
    scene.publish("m", 1.0);
    scene.step();
    scene.publish("m", 2.0);
    let mut end = 0_u64;
    let tensors: Vec<_> = (0..16)
        .map(|index| {
            let bytes = if index < 15 { 1_u64 << 60 } else { (1 << 60) - 4 };
            let start = end;
            end += bytes;
            format!(r#""t{index:02}":{{"dtype":"F32","shape":[{}],"data_offsets":[{start},{end}]}}"#, bytes / 4)
        })
        .collect();
    let header = format!("{{{}}}", tensors.join(","));
    let weights = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    fs::write(scene.file(2, "weights.safetensors"), &weights).unwrap();
    let manifest = scene.file(2, "model.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    use sha2::{Digest, Sha256};
    json["files"]["weights.safetensors"] = format!("{:x}", Sha256::digest(&weights)).into();
    fs::write(&manifest, json.to_string()).unwrap();

    assert_eq!(scene.step(), ["m@latest: 2 refused"]);
    scene.publish("m", 3.0);
    assert_eq!(scene.step(), ["m@latest: 1 -> 3 loaded"]);
}

#[tokio::test]
async fn the_watch_fills_the_slots_and_sees_an_alias_move() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().to_str().unwrap()).unwrap();
    for bias in [1.0, 2.0] {
        store.publish(&testing::regression("m", bias)).unwrap();
    }
    store.promote("m", "production", 1).unwrap();
    let slot = Arc::new(Slot::new());
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let routes = [("m@production".parse().unwrap(), slot.clone())];
    let rollout = Rollout::new(store.clone(), routes, move |event| sender.send(event).unwrap());
    let mut usable = rollout.usable();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(rollout.watch(Duration::from_millis(1), async {
        let _ = stopped.await;
    }));

    usable.wait_for(|&usable| usable).await.unwrap();
    assert_eq!(slot.load().unwrap().version(), 1);
    assert_eq!(describe(&events.recv().await.unwrap()), "m@production: 0 -> 1 loaded");
    store.promote("m", "production", 2).unwrap();
    assert_eq!(describe(&events.recv().await.unwrap()), "m@production: 1 -> 2 loaded");
    assert_eq!(slot.load().unwrap().version(), 2);
    stop.send(()).unwrap();
    watch.await.unwrap();
    assert_eq!(slot.load().unwrap().version(), 2);
}
