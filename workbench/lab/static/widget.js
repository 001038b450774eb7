// The adapter to anywidget. It stands behind lanes.js in one module and calls its mountLanes.

export default {
  render({ model, el }) {
    const view = mountLanes(el, (message) => model.send(message));
    const receive = (message, buffers) => view.receive(message, buffers);
    model.on("msg:custom", receive);
    return () => {
      model.off("msg:custom", receive);
      view.destroy();
    };
  },
};
