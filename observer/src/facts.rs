//! What holds now, from what the brokers say one after the other. Pure.
//!
//! Brokers disagree for a while after each change, and a broker that was paused repeats what it knew before. So a
//! partition's highest leader epoch wins. Within one epoch the leader itself knows the ISR first.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::kafka::{Offsets, PartitionView, View};

/// What is known about the lab.
#[derive(Debug, Default)]
pub struct Facts {
    /// The last view of each broker that answers.
    views: BTreeMap<u32, View>,
    /// Whether each broker that was asked answers, and why not.
    answers: BTreeMap<u32, Result<(), String>>,
    controller: Option<(Option<u32>, Option<i32>)>,
    topic: Option<(Option<String>, usize)>,
    partitions: BTreeMap<i32, PartitionView>,
    offsets: BTreeMap<i32, Offsets>,
    /// The partitions whose offsets changed since they were last taken.
    moved: BTreeMap<i32, Offsets>,
}

impl Facts {
    /// Takes a broker's view. `names_controller` is false in KRaft mode.
    pub fn view(&mut self, broker: u32, view: View, names_controller: bool) -> Vec<Event> {
        let mut events = self.answered(broker, Ok(()));
        self.views.insert(broker, view);
        if names_controller {
            events.extend(self.named_controller());
        }
        events.extend(self.topic_now());
        events
    }

    /// Takes it that a broker does not answer. What it said last counts no longer.
    pub fn silence(&mut self, broker: u32, why: String) -> Vec<Event> {
        self.views.remove(&broker);
        self.answered(broker, Err(why))
    }

    /// Takes the leader of KRaft's quorum and its epoch; `None` if there is none.
    pub fn quorum(&mut self, leader: Option<(u32, i32)>) -> Vec<Event> {
        let known = self.controller.and_then(|(_, epoch)| epoch);
        // A broker that was paused may still name the leader of an earlier epoch.
        if let (Some((_, epoch)), Some(known)) = (leader, known)
            && epoch < known
        {
            return Vec::new();
        }
        self.controller_is(leader.map(|(id, _)| id), leader.map(|(_, epoch)| epoch).or(known))
    }

    /// Takes the offsets of partitions from a broker, unless it is known not to lead them any more.
    pub fn offsets(&mut self, broker: u32, offsets: &[(i32, Offsets)]) {
        for (partition, offsets) in offsets {
            let leads = self.partitions.get(partition).is_some_and(|known| known.leader == Some(broker));
            if leads && self.offsets.insert(*partition, *offsets) != Some(*offsets) {
                self.moved.insert(*partition, *offsets);
            }
        }
    }

    /// Returns the offsets that changed since the last call.
    pub fn moved(&mut self) -> Option<Event> {
        let moved = std::mem::take(&mut self.moved);
        let partitions: Vec<_> =
            moved.into_iter().map(|(partition, at)| (partition, at.first, at.high_watermark)).collect();
        if partitions.is_empty() { None } else { Some(Event::Offsets { partitions }) }
    }

    fn answered(&mut self, broker: u32, answer: Result<(), String>) -> Vec<Event> {
        let before = self.answers.insert(broker, answer.clone());
        // Why it does not answer may read otherwise each time; that it does not is what counts.
        if before.is_some_and(|before| before.is_ok() == answer.is_ok()) {
            return Vec::new();
        }
        vec![Event::Broker { broker, answers: answer.is_ok(), why: answer.err() }]
    }

    /// The controller that most brokers name. Of two that as many name, the one that was named before stays.
    fn named_controller(&mut self) -> Vec<Event> {
        let mut named: BTreeMap<u32, usize> = BTreeMap::new();
        for controller in self.views.values().filter_map(|view| view.controller) {
            *named.entry(controller).or_default() += 1;
        }
        let before = self.controller.and_then(|(controller, _)| controller);
        let most = named.iter().max_by_key(|(id, count)| (**count, before == Some(**id)));
        self.controller_is(most.map(|(id, _)| *id), None)
    }

    fn controller_is(&mut self, controller: Option<u32>, epoch: Option<i32>) -> Vec<Event> {
        if self.controller == Some((controller, epoch)) {
            return Vec::new();
        }
        self.controller = Some((controller, epoch));
        vec![Event::Controller { controller, epoch }]
    }

    fn topic_now(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let known = self.views.values().filter_map(|view| view.topic.as_ref());
        // A topic that was recreated has two ids for a moment; most brokers decide, and the former one if none do.
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        known.clone().for_each(|topic| *ids.entry(&topic.id).or_default() += 1);
        let before = self.topic.clone().and_then(|(id, _)| id);
        let most = ids.iter().max_by_key(|(id, count)| (**count, before.as_deref() == Some(**id)));
        let id = most.map(|(id, _)| (*id).to_owned());
        let count = known.filter(|topic| Some(&topic.id) == id.as_ref()).map(|topic| topic.partitions.len()).max();
        let topic = (id.clone(), count.unwrap_or(0));
        if self.topic.as_ref() != Some(&topic) {
            if before != id {
                // Epochs and offsets of another topic say nothing about this one.
                self.partitions.clear();
                self.offsets.clear();
                self.moved.clear();
            }
            self.topic = Some(topic.clone());
            events.push(Event::Topic { topic_id: topic.0, partitions: topic.1 });
        }
        let Some(id) = id else { return events };
        for (partition, (by, view)) in self.best(&id) {
            let known = self.partitions.get(&partition);
            if known.is_none_or(|known| known.epoch <= view.epoch && *known != view) {
                self.partitions.insert(partition, view.clone());
                let PartitionView { leader, epoch, isr, replicas, .. } = view;
                events.push(Event::Partition { partition, leader, epoch, isr, replicas, by });
            }
        }
        events
    }

    /// For each partition, the view that counts, and the broker whose view it is.
    fn best(&self, id: &str) -> BTreeMap<i32, (u32, PartitionView)> {
        let controller = self.controller.and_then(|(controller, _)| controller);
        let rank = |by: u32, view: &PartitionView| {
            (view.epoch, view.leader == Some(by), controller == Some(by), std::cmp::Reverse(by))
        };
        let mut best: BTreeMap<i32, (u32, PartitionView)> = BTreeMap::new();
        for (&by, view) in &self.views {
            let of_topic = view.topic.iter().filter(|topic| topic.id == id);
            for one in of_topic.flat_map(|topic| &topic.partitions) {
                let better = best.get(&one.partition).is_none_or(|(who, known)| rank(by, one) > rank(*who, known));
                if better {
                    best.insert(one.partition, (by, one.clone()));
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::TopicView;

    fn partition(partition: i32, leader: u32, epoch: i32, isr: &[u32]) -> PartitionView {
        PartitionView { partition, leader: Some(leader), epoch, isr: isr.to_vec(), replicas: vec![0, 1, 2] }
    }

    fn topic(id: &str, partitions: Vec<PartitionView>) -> Option<TopicView> {
        Some(TopicView { id: id.into(), partitions })
    }

    fn view(controller: u32, one: PartitionView) -> View {
        View { controller: Some(controller), topic: topic("a", vec![one]) }
    }

    /// Three brokers that say the same.
    fn agreed() -> Facts {
        let mut facts = Facts::default();
        for broker in 0..3 {
            facts.view(broker, view(0, partition(0, 1, 5, &[0, 1, 2])), true);
        }
        facts
    }

    #[test]
    fn what_all_say_is_told_once() {
        let mut facts = Facts::default();
        let told = facts.view(2, view(0, partition(0, 1, 5, &[0, 1, 2])), true);
        assert_eq!(
            told,
            [
                Event::Broker { broker: 2, answers: true, why: None },
                Event::Controller { controller: Some(0), epoch: None },
                Event::Topic { topic_id: Some("a".into()), partitions: 1 },
                Event::Partition {
                    partition: 0,
                    leader: Some(1),
                    epoch: 5,
                    isr: vec![0, 1, 2],
                    replicas: vec![0, 1, 2],
                    by: 2
                },
            ]
        );
        assert_eq!(facts.view(2, view(0, partition(0, 1, 5, &[0, 1, 2])), true), []);
        let other = facts.view(0, view(0, partition(0, 1, 5, &[0, 1, 2])), true);
        assert_eq!(other, [Event::Broker { broker: 0, answers: true, why: None }]);
    }

    #[test]
    fn a_broker_that_was_paused_repeats_what_it_knew_and_changes_nothing() {
        let mut facts = agreed();
        let moved = facts.view(0, view(0, partition(0, 2, 6, &[0, 2])), true);
        assert!(matches!(moved[..], [Event::Partition { leader: Some(2), epoch: 6, by: 0, .. }]), "{moved:?}");
        // Broker 1 led in epoch 5, and still thinks so.
        assert_eq!(facts.view(1, view(0, partition(0, 1, 5, &[0, 1, 2])), true), []);
        // Even if nobody else answers any more.
        for silent in [0, 2] {
            facts.silence(silent, "no answer".into());
        }
        assert_eq!(facts.view(1, view(0, partition(0, 1, 5, &[1])), true), []);
    }

    #[test]
    fn within_an_epoch_the_leader_knows_the_isr_first() {
        let mut facts = agreed();
        assert_eq!(facts.view(0, view(0, partition(0, 1, 5, &[1, 2])), true), []);
        let told = facts.view(1, view(0, partition(0, 1, 5, &[1])), true);
        assert!(matches!(&told[..], [Event::Partition { isr, by: 1, .. }] if isr[..] == [1]), "{told:?}");
    }

    #[test]
    fn the_controller_is_the_one_that_most_brokers_name_and_a_tie_changes_nothing() {
        let mut facts = agreed();
        let named = |facts: &mut Facts, broker, controller| {
            let told = facts.view(broker, view(controller, partition(0, 1, 5, &[0, 1, 2])), true);
            told.into_iter().find_map(|event| match event {
                Event::Controller { controller, .. } => Some(controller),
                _ => None,
            })
        };
        assert_eq!(named(&mut facts, 2, 2), None);
        facts.silence(0, "no answer".into());
        assert_eq!(named(&mut facts, 2, 2), None, "one against one");
        assert_eq!(named(&mut facts, 1, 2), Some(Some(2)));
    }

    #[test]
    fn a_quorum_of_an_earlier_epoch_is_no_news() {
        let mut facts = Facts::default();
        let is = |controller, epoch| [Event::Controller { controller: Some(controller), epoch: Some(epoch) }];
        assert_eq!(facts.quorum(Some((100, 4))), is(100, 4));
        assert_eq!(facts.quorum(Some((101, 6))), is(101, 6));
        assert_eq!(facts.quorum(Some((100, 4))), []);
        assert_eq!(facts.quorum(Some((101, 6))), []);
    }

    #[test]
    fn a_recreated_topic_begins_anew_with_lower_epochs() {
        let mut facts = agreed();
        let told: Vec<Event> = (0..3)
            .flat_map(|broker| {
                let view = View { controller: Some(0), topic: topic("b", vec![partition(0, 2, 0, &[0, 1, 2])]) };
                facts.view(broker, view, true)
            })
            .collect();
        assert!(told.contains(&Event::Topic { topic_id: Some("b".into()), partitions: 1 }), "{told:?}");
        assert!(told.iter().any(|event| matches!(event, Event::Partition { leader: Some(2), epoch: 0, .. })));
        let gone: Vec<Event> =
            (0..3).flat_map(|broker| facts.view(broker, View { controller: Some(0), topic: None }, true)).collect();
        assert_eq!(gone, [Event::Topic { topic_id: None, partitions: 0 }]);
    }

    #[test]
    fn offsets_count_from_the_leader_only_and_are_told_when_they_change() {
        let mut facts = agreed();
        let at = |high_watermark| [(0, Offsets { first: 3, high_watermark })];
        let view = view(0, partition(0, 1, 5, &[0, 1, 2]));
        assert_eq!((view.led_by(1), view.led_by(0)), (vec![0], vec![]));
        facts.offsets(0, &at(50));
        assert_eq!(facts.moved(), None);
        facts.offsets(1, &at(50));
        facts.offsets(1, &at(51));
        assert_eq!(facts.moved(), Some(Event::Offsets { partitions: vec![(0, 3, 51)] }));
        facts.offsets(1, &at(51));
        assert_eq!(facts.moved(), None);
    }
}
