//! The links to the other nodes: one for each that the node names, from when it does until it does not any more. Which nodes there are,
//! and where, is the node's to say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steadfast_core::io::PeerAddress;
use steadfast_core::types::NodeId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::link;
use super::link_queue::LinkQueue;

/// Frames for each node.
pub type Queues = HashMap<NodeId, Arc<LinkQueue>>;

/// All links of a server. Clones are the same links.
#[derive(Clone, Debug, Default)]
pub struct Links {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<NodeId, Link>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Link {
    queue: Arc<LinkQueue>,
    addresses: watch::Sender<Vec<String>>,
}

impl Links {
    /// These are the nodes from now on. Must be called within a tokio runtime.
    pub fn tell(&self, peers: Vec<PeerAddress>) -> Queues {
        let mut inner = self.lock();
        let Inner { open, tasks } = &mut *inner;
        open.retain(|node, link| {
            let stays = peers.iter().any(|peer| peer.node == *node);
            if !stays {
                link.queue.close();
            }
            stays
        });
        for PeerAddress { node, addresses } in peers {
            if let Some(link) = open.get(&node) {
                link.addresses.send_if_modified(|known| {
                    let changed = *known != addresses;
                    known.clone_from(&addresses);
                    changed
                });
                continue;
            }
            let (sender, receiver) = watch::channel(addresses);
            let queue = Arc::new(LinkQueue::default());
            tasks.spawn(link::run(node, receiver, queue.clone()));
            open.insert(node, Link { queue, addresses: sender });
        }
        // Of those that have ended nothing is wanted.
        while tasks.try_join_next().is_some() {}
        open.iter().map(|(node, link)| (*node, link.queue.clone())).collect()
    }

    /// Lets every link end once it has sent what waits.
    pub async fn close(&self) {
        let mut tasks = {
            let mut inner = self.lock();
            inner.open.drain().for_each(|(_, link)| link.queue.close());
            std::mem::take(&mut inner.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use steadfast_core::io::Lane;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound").to_string();
        (listener, address)
    }

    fn at(node: u16, addresses: &[&str]) -> PeerAddress {
        PeerAddress { node: NodeId(node), addresses: addresses.iter().map(|text| (*text).into()).collect() }
    }

    #[tokio::test]
    async fn a_link_finds_its_node_wherever_it_is_said_to_be_and_ends_when_it_is_named_no_more() {
        let ((gone, dead), (first, here)) = (listen().await, listen().await);
        drop(gone);
        let links = Links::default();
        // Nobody is at the first address.
        let queue = links.tell(vec![at(2, &[&dead, &here])])[&NodeId(2)].clone();
        let (mut stream, _) = first.accept().await.expect("it tries the next");
        let (second, there) = listen().await;
        // Where it is connected it is not said to be any more.
        let same = links.tell(vec![at(2, &[&there])])[&NodeId(2)].clone();
        assert!(Arc::ptr_eq(&queue, &same), "the same link");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("it lets go");
        let (mut stream, _) = second.accept().await.expect("it goes there");
        queue.push([(Lane::Control, Bytes::from("frame"))].into_iter());
        assert!(links.tell(Vec::new()).is_empty());
        stream.read_to_end(&mut rest).await.expect("it ends in order");
        assert_eq!(rest, b"frame");
        links.close().await;
    }
}
