"use strict";

/* The picture viewer: originals and reconstructions at a common rate, divided by a slider or side by side. */
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (!data.pictures.length) return;
  const FAR = 0.15; // a rate that differs by more from the one to match is marked
  const byId = (id) => document.getElementById(id);
  const [stage, canvas, slider, target] = ["stage", "canvas", "slider", "target"].map(byId);
  const [leftPicture, rightPicture] = [byId("left-picture"), byId("right-picture")];

  let entry = data.pictures[0];
  let rate = 1; // bits per pixel to match
  let wanted = null; // the rate that the reader asked for, kept from image to image
  const chosen = new Map(); // codec -> setting, where the reader chose one
  let left = null; // codec, or null for the original
  let right = null;

  const codecsHere = () => data.codecs.filter((codec) => entry.decoded.some((picture) => picture.codec === codec));
  const ofCodec = (codec) => entry.decoded.filter((picture) => picture.codec === codec).sort((a, b) => a.bpp - b.bpp);
  const distance = (picture, bpp) => Math.abs(Math.log(picture.bpp / bpp));
  const nearest = (codec, bpp) => ofCodec(codec).reduce((a, b) => (distance(b, bpp) < distance(a, bpp) ? b : a));
  const address = (payload) => "data:image/webp;base64," + byId(`payload-${payload}`).textContent;
  const zoom = () => Number(document.querySelector("input[name=zoom]:checked").value);
  const isSide = () => document.querySelector("input[name=mode]:checked").value === "side";

  function shown(codec) {
    const setting = chosen.get(codec);
    return ofCodec(codec).find((picture) => picture.setting === setting) || nearest(codec, rate);
  }

  const nameOf = (codec) => (codec === null ? "original" : `${codec} ${shown(codec).setting}, ${shown(codec).bpp.toFixed(3)} bpp`);
  const payloadOf = (codec) => (codec === null ? entry.payload : shown(codec).payload);

  function element(name, parent, text) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  /* The rates of the image, from its lowest to its highest, on a logarithmic slider. */
  function range() {
    const rates = entry.decoded.map((picture) => picture.bpp);
    return [Math.min(...rates), Math.max(...rates)];
  }

  function setRate(bpp) {
    const [low, high] = range();
    rate = Math.min(high, Math.max(low, bpp));
    target.value = high > low ? Math.round((1000 * Math.log(rate / low)) / Math.log(high / low)) : 0;
    byId("target-text").textContent = `${rate.toFixed(3)} bpp`;
    target.setAttribute("aria-valuetext", byId("target-text").textContent);
  }

  /* The rate at which the settings of all codecs lie closest together. */
  function commonRate() {
    const spread = (bpp) => Math.max(...codecsHere().map((codec) => distance(nearest(codec, bpp), bpp)));
    return entry.decoded.map((picture) => picture.bpp).reduce((a, b) => (spread(b) < spread(a) ? b : a));
  }

  function drawChoices() {
    const metrics = [...new Set(entry.decoded.flatMap((picture) => Object.keys(picture.values)))];
    const head = byId("choices").tHead;
    const body = byId("choices").tBodies[0];
    head.replaceChildren();
    body.replaceChildren();
    const titles = element("tr", head);
    for (const title of ["left", "right", "codec", "setting", "bpp", "to the rate", ...metrics]) element("th", titles, title).scope = "col";
    for (const codec of [null, ...codecsHere()]) {
      const row = element("tr", body);
      for (const side of ["left", "right"]) {
        const radio = element("input", element("td", row));
        radio.type = "radio";
        radio.name = side;
        radio.checked = (side === "left" ? left : right) === codec;
        radio.setAttribute("aria-label", `${codec === null ? "original" : codec} on the ${side}`);
        radio.addEventListener("change", () => {
          if (side === "left") left = codec;
          else right = codec;
          drawPictures();
        });
      }
      element("td", row, codec === null ? "original" : codec);
      const setting = element("td", row);
      if (codec === null) {
        for (let i = 0; i < 2 + metrics.length; i++) element("td", row);
        continue;
      }
      addSettings(setting, codec);
      const picture = shown(codec);
      element("td", row, picture.bpp.toFixed(4)).className = "number";
      const percent = 100 * (picture.bpp / rate - 1);
      const cell = element("td", row, `${percent >= 0 ? "+" : "−"}${Math.abs(percent).toFixed(0)} %`);
      cell.className = Math.abs(percent) > 100 * FAR ? "number far" : "number";
      for (const metric of metrics) {
        const value = picture.values[metric];
        element("td", row, typeof value === "number" ? String(Number(value.toPrecision(4))) : "–").className = "number";
      }
    }
  }

  function addSettings(cell, codec) {
    const select = element("select", cell);
    select.setAttribute("aria-label", `setting of ${codec}`);
    const automatic = element("option", select, `nearest: ${nearest(codec, rate).setting}`);
    automatic.value = "";
    ofCodec(codec).forEach((picture, index) => {
      const option = element("option", select, `${picture.setting} (${picture.bpp.toFixed(3)} bpp)`);
      option.value = String(index);
      option.selected = chosen.get(codec) === picture.setting;
    });
    select.addEventListener("change", () => {
      if (select.value === "") chosen.delete(codec);
      else chosen.set(codec, ofCodec(codec)[Number(select.value)].setting);
      draw();
      byId("choices").querySelector(`select[aria-label="${CSS.escape(select.getAttribute("aria-label"))}"]`)?.focus();
    });
  }

  /* The divider stands at a share of what is seen of the picture, so that it stays in sight when that is scrolled. */
  function moveDivider() {
    const seen = Math.min(stage.clientWidth, entry.width * zoom());
    const x = stage.scrollLeft + (seen * Number(slider.value)) / 100;
    rightPicture.style.clipPath = `inset(0 0 0 ${x}px)`;
    byId("divider").style.left = `${x}px`;
    slider.setAttribute("aria-valuetext", `${slider.value} % left, the rest right`);
  }

  /* The point of a picture in the middle of what is seen of it, as shares of its size. */
  function centreOf(view) {
    return [(view.scrollLeft + view.clientWidth / 2) / view.scrollWidth, (view.scrollTop + view.clientHeight / 2) / view.scrollHeight];
  }

  function scrollToCentre(view, [x, y]) {
    view.scrollLeft = x * view.scrollWidth - view.clientWidth / 2;
    view.scrollTop = y * view.scrollHeight - view.clientHeight / 2;
  }

  function drawPictures() {
    byId("viewer").classList.toggle("zoomed", zoom() > 1);
    byId("viewer").classList.toggle("beside", isSide());
    byId("wipe").hidden = isSide();
    byId("side").hidden = !isSide();
    if (isSide()) drawSide();
    else drawWipe();
  }

  function drawWipe() {
    for (const [picture, codec] of [[leftPicture, left], [rightPicture, right]]) {
      picture.src = address(payloadOf(codec));
      picture.alt = `${entry.image}, ${nameOf(codec)}`;
    }
    byId("left-caption").textContent = `◀ ${nameOf(left)}`;
    byId("right-caption").textContent = `${nameOf(right)} ▶`;
    const centre = stage.scrollWidth ? centreOf(stage) : [0.5, 0.5];
    canvas.style.width = `${entry.width * zoom()}px`;
    canvas.style.height = `${entry.height * zoom()}px`;
    scrollToCentre(stage, centre);
    moveDivider();
  }

  function drawSide() {
    const side = byId("side");
    const before = side.querySelector(".panel");
    const centre = before && before.scrollWidth ? centreOf(before) : [0.5, 0.5];
    side.replaceChildren();
    const panels = [null, ...codecsHere()].map((codec) => {
      const figure = element("figure", side);
      element("figcaption", figure, nameOf(codec));
      const panel = element("div", figure);
      panel.className = "panel";
      panel.tabIndex = 0;
      panel.setAttribute("role", "region");
      panel.setAttribute("aria-label", nameOf(codec));
      const picture = element("img", panel);
      picture.src = address(payloadOf(codec));
      picture.alt = `${entry.image}, ${nameOf(codec)}`;
      picture.width = entry.width * zoom();
      picture.height = entry.height * zoom();
      return panel;
    });
    for (const panel of panels) {
      panel.addEventListener("scroll", () => {
        for (const other of panels) {
          if (other.scrollLeft !== panel.scrollLeft) other.scrollLeft = panel.scrollLeft;
          if (other.scrollTop !== panel.scrollTop) other.scrollTop = panel.scrollTop;
        }
      });
    }
    scrollToCentre(panels[0], centre);
  }

  function draw() {
    drawChoices();
    drawPictures();
  }

  function setImage(index) {
    entry = data.pictures[index];
    const codecs = codecsHere();
    if (left !== null && !codecs.includes(left)) left = null;
    if (right === null || !codecs.includes(right)) right = codecs.length ? codecs[0] : null;
    byId("picture-note").textContent = entry.note;
    byId("picture-note").hidden = !entry.note;
    target.disabled = !codecs.length;
    if (codecs.length) setRate(wanted === null ? commonRate() : wanted);
    draw();
  }

  function dragTo(event) {
    if (event.pointerType === "touch") return; // a finger scrolls, and has the slider
    const box = stage.getBoundingClientRect();
    const seen = Math.min(stage.clientWidth, entry.width * zoom());
    slider.value = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / seen));
    moveDivider();
  }

  data.pictures.forEach((picture, index) => {
    element("option", byId("image"), picture.image).value = index;
  });
  byId("image").addEventListener("change", () => setImage(Number(byId("image").value)));
  target.addEventListener("input", () => {
    const [low, high] = range();
    wanted = low * (high / low) ** (Number(target.value) / 1000);
    setRate(wanted);
    draw();
  });
  document.querySelectorAll("input[name=mode], input[name=zoom]").forEach((input) => input.addEventListener("change", drawPictures));
  slider.addEventListener("input", moveDivider);
  stage.addEventListener("scroll", moveDivider);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    dragTo(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) dragTo(event);
  });
  new ResizeObserver(moveDivider).observe(stage);
  setImage(0);
})();
