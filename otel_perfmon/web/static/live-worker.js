// One connection for all tabs: what the server tells is told to each of them.
import {listen} from "./listening.js";

const ports = new Set();
let latest = {};

addEventListener("connect", ({ports: [port]}) => {
  port.onmessage = ({data: isThere}) => (isThere ? add(port) : ports.delete(port));
  add(port);
});

listen((message) => {
  latest = message;
  ports.forEach((port) => port.postMessage(message));
});

function add(port) {
  ports.add(port);
  port.postMessage(latest);
}
