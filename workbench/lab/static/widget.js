// The adapter to anywidget. It stands behind lanes.js in one module and calls its mountLanes.

/**
 * Put a picture into the notebook's own outputs. The kernel does it as well, but a page that was
 * loaded anew does not know the kernel's displays. Does nothing outside JupyterLab and Notebook.
 */
function keepPicture(model, png) {
  const key = model.get?.("picture_key");
  const cells = model.widget_manager?.context?.model?.cells;
  for (const { outputs } of key && cells ? cells : []) {
    for (let n = 0; n < (outputs?.length ?? 0); n += 1) {
      const output = outputs.get(n).toJSON();
      if (output.metadata?.picture_key !== key || output.data["image/png"] === png) continue;
      outputs.set(n, { ...output, data: { ...output.data, "image/png": png } });
    }
  }
}

export default {
  render({ model, el }) {
    const view = mountLanes(el, (message) => {
      model.send(message);
      if (message.kind === "picture") keepPicture(model, message.png);
    });
    const receive = (message, buffers) => {
      el.classList.add("wb-heard"); // There is a kernel: the picture below is not needed.
      view.receive(message, buffers);
    };
    model.on("msg:custom", receive);
    return () => {
      model.off("msg:custom", receive);
      view.destroy();
    };
  },
};
