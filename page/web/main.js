import "#reducer";
